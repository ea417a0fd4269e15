package transport

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func get(query string, headers ...string) string {
	return "GET /graphql?query=" + query + " HTTP/1.1\r\nHost: here.example\r\nAccept: text/event-stream\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// wantEvents reads the body up to its end, heartbeats left out.
func wantEvents(t *testing.T, response *http.Response, want string) {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(string(text), ":\n\n", ""); got != want {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

const complete = "event: complete\ndata: \n\n"

func TestAnEventStreamBringsEachAnswerThenCompleteWithData(t *testing.T) {
	const body = `{"query":"subscription{ticks(n:2)}"}`
	ticks := "event: next\ndata: {\"data\":{\"ticks\":\ndata: 1}}\n\n" + "event: next\ndata: {\"data\":{\"ticks\":\ndata: 2}}\n\n" + complete
	for _, c := range []struct{ name, request, want string }{
		{"a subscription by POST", fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body), ticks},
		{"a subscription by GET", get("subscription{ticks(n:2)}", "X-Requested-With: x"), ticks},
		{"a subscription by an EventSource of ours", get("subscription{ticks(n:2)}", "Sec-Fetch-Site: same-origin"), ticks},
		{"a subscription by a listed EventSource", get("subscription{ticks(n:2)}", "Origin: https://app.example"), ticks},
		{"a query", get("{me}", "Authorization: Bearer ada"), "event: next\ndata: {\"data\":{\"me\":\"ada\"}}\n\n" + complete},
		{"a wrong document", get("{no}", "X-Requested-With: x"), "event: next\ndata: {\"errors\":[{\"message\":\"Cannot query field \\\"no\\\" on type \\\"Query\\\".\",\"locations\":[{\"line\":1,\"column\":2}],\"extensions\":{\"code\":\"BAD_USER_INPUT\",\"requestId\":\"req_1\"}}]}\n\n" + complete},
		{"a panic", get("{panics}", "X-Requested-With: x"), "event: next\ndata: {\"errors\":[{\"message\":\"internal system error\",\"extensions\":{\"code\":\"INTERNAL\"}}]}\n\n" + complete},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, Options{Origins: []string{"https://app.example"}}, func(t *testing.T, h *house, p *pipes) {
				conn := p.dial()
				defer conn.Close()
				response, _ := raw(t, conn, c.request)
				if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != "text/event-stream; charset=utf-8" {
					t.Fatalf("got %d %s", response.StatusCode, got)
				}
				wantEvents(t, response, c.want)
			})
		})
	}
}

func TestAForeignEventSourceIsRefused(t *testing.T) {
	for _, headers := range [][]string{nil, {"Origin: https://evil.example"}, {"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}} {
		w := newHouse(Options{}).do(request("GET", "/graphql?query={me}", "", append(headers, "Accept: text/event-stream")...))
		if w.Code != 403 {
			t.Errorf("%v: got %d %s", headers, w.Code, w.Body)
		}
	}
}

func TestAMutationByEventSourceIsRefused(t *testing.T) {
	w := newHouse(Options{}).do(request("GET", "/graphql?query=mutation{set}", "", "Accept: text/event-stream", "X-Requested-With: x"))
	if w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// openStream starts the endless subscription and returns when it runs.
func openStream(t *testing.T, p *pipes, token string) *http.Response {
	t.Helper()
	conn := p.dial()
	t.Cleanup(func() { _ = conn.Close() })
	response, _ := raw(t, conn, get("subscription{forever}", "Authorization: "+token))
	return response
}

func TestAStreamOutlivesTheServersTimeoutsWithHeartbeats(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) { // the server's time-outs are 20 s
		lines := bufio.NewReader(openStream(t, p, "Bearer ada").Body)
		start := time.Now()
		for range 11 { // the first opens the stream, each other is 12 s later
			line, err := lines.ReadString('\n')
			if err != nil || line != ":\n" {
				t.Fatalf("got %q, %v after %v", line, err, time.Since(start))
			}
			_, _ = lines.ReadString('\n')
		}
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("got 10 heartbeats in %v, want 2 minutes", took)
		}
	})
}

func TestAStreamEndsWhenTheTokenExpiresTheSessionIsRevokedOrTheServerGoes(t *testing.T) {
	why := func(reason string) string {
		return "event: next\ndata: {\"errors\":[{\"message\":\"" + reason + "\",\"extensions\":{\"code\":\"UNAUTHENTICATED\",\"requestId\":\"req_1\"}}]}\n\n" + complete
	}
	t.Run("expiry", func(t *testing.T) {
		inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
			start := time.Now()
			wantEvents(t, openStream(t, p, "Bearer ada 60"), why("token expired"))
			if took := time.Since(start); took != time.Minute {
				t.Errorf("ended after %v", took)
			}
		})
	})
	t.Run("revocation", func(t *testing.T) {
		inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
			response := openStream(t, p, "Bearer ada")
			h.mu.Lock()
			revoke := h.revoke["ada"]
			h.mu.Unlock()
			revoke("session revoked")
			wantEvents(t, response, why("session revoked"))
		})
	})
	t.Run("drain", func(t *testing.T) {
		inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
			response := openStream(t, p, "Bearer ada")
			go func() { _ = h.handler.Drain(t.Context()) }()
			wantEvents(t, response, complete)
			synctest.Wait()
			late, _ := raw(t, p.dial(), get("subscription{forever}", "Authorization: Bearer ada"))
			if late.StatusCode != 503 {
				t.Errorf("newcomer: got %d", late.StatusCode)
			}
		})
	})
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		conn := p.dial()
		_, reader := raw(t, conn, get("subscription{forever}", "Authorization: Bearer ada"))
		_, _ = reader.ReadString('\n')
		_ = conn.Close()
		advance(13 * time.Second) // the next heartbeat finds nobody
		synctest.Wait()
		if h.subs != 0 || len(h.revoke) != 0 {
			t.Errorf("got %d subscriptions and %d watches left", h.subs, len(h.revoke))
		}
	})
}
