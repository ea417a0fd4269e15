package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// sseEvent is one server-sent event.
type sseEvent struct {
	name string
	data string
}

// sse is an open event stream.
type sse struct {
	t        testing.TB
	events   chan sseEvent // closed with the stream
	stop     context.CancelFunc
	done     chan struct{}
	once     sync.Once
	complete bool
}

// stream runs an operation over server-sent events, in graphql-sse's distinct connections mode.
func (c *client) stream(query string, v vars) *sse {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": v})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/graphql", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = c.headers.Clone()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	if c.access != "" {
		r.Header.Set("Authorization", "Bearer "+c.access)
	}
	response, err := (&http.Client{Transport: c.http.Transport}).Do(r)
	if err != nil {
		cancel()
		c.t.Fatal(err)
	}
	s := &sse{t: c.t, events: make(chan sseEvent, 16), stop: cancel, done: make(chan struct{})}
	if media := response.Header.Get("Content-Type"); !strings.HasPrefix(media, "text/event-stream") {
		c.t.Errorf("the stream is %d %s", response.StatusCode, media)
	}
	go s.read(response)
	c.t.Cleanup(s.cut)
	return s
}

// read parses events as a browser does (HTML §9.2.6); comments are skipped.
func (s *sse) read(response *http.Response) {
	defer close(s.events)
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	var e sseEvent
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		field, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.name = value
		case "data":
			e.data += value
		}
		if strings.TrimSpace(line) != "" || e == (sseEvent{}) {
			continue
		}
		select {
		case s.events <- e:
			e = sseEvent{}
		case <-s.done:
			return
		}
	}
}

// next returns the next job event; false when the stream has ended.
func (s *sse) next(within time.Duration) (event, bool) {
	select {
	case e, ok := <-s.events:
		if !ok {
			return event{}, false
		}
		if e.name == "complete" {
			s.complete = true
			return event{}, false
		}
		got, err := readEvent([]byte(e.data))
		if err != nil || e.name != "next" {
			s.t.Errorf("got %s %s: %v", e.name, e.data, err)
		}
		return got, err == nil
	case <-time.After(within):
		return event{}, false
	}
}

func (s *sse) completed() bool { return s.complete }

func (s *sse) cut() {
	s.once.Do(func() {
		close(s.done)
		s.stop()
	})
}

// watchEvents subscribes to a job's events over server-sent events.
func (c *client) watchEvents(id string, after *int) watch {
	c.t.Helper()
	return c.stream(eventsDocument, eventsOf(id, after))
}
