package transport

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

const boundary = "xyz"

// part is a part of a form; one with a name of a file is a file.
func part(name, file, text string) string {
	if file != "" {
		return fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=%q; filename=%q\r\nContent-Type: text/csv\r\n\r\n%s\r\n", boundary, name, file, text)
	}
	return fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, name, text)
}

const lastBoundary = "--" + boundary + "--\r\n"

func (h *house) upload(body string, headers ...string) *httptest.ResponseRecorder {
	return h.do(request("POST", "/graphql", body, append([]string{
		"Content-Type: multipart/form-data; boundary=" + boundary, "Authorization: Bearer ada",
	}, headers...)...))
}

const (
	takeOne  = `{"query":"mutation($f:Upload){take(file:$f)}","variables":{"f":null,"g":null}}`
	takeList = `{"query":"mutation($f:Files){take(files:$f)}","variables":{"f":{"list":[null,null],"one":null}}}`
	leaveOne = `{"query":"mutation($f:Upload){leave(file:$f)}","variables":{"f":null}}`
)

func TestFilesStandWhereTheMapPutsThemAndStayWhenClaimed(t *testing.T) {
	for _, c := range []struct{ name, body, says string }{
		{"one file", part("operations", "", takeOne) + part("map", "", `{"0":["variables.f"]}`) + part("0", "a.csv", "alpha"), `[alpha]`},
		{"three files in another order", part("operations", "", takeList) + part("map", "", `{"a":["variables.f.list.0"],"b":["variables.f.list.1"],"c":["variables.f.one"]}`) + part("c", "c", "gamma") + part("b", "b", "beta") + part("a", "a", "alpha"), `[alpha][beta][gamma]`},
		{"one file in two places", part("operations", "", takeList) + part("map", "", `{"a":["variables.f.list.0","variables.f.one"]}`) + part("a", "a", "alpha"), `[alpha][alpha]`},
		{"an empty file", part("operations", "", takeOne) + part("map", "", `{"0":["variables.f"]}`) + part("0", "a.csv", ""), `[]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(Options{})
			w := h.upload(c.body + lastBoundary)
			if w.Code != 200 || !strings.Contains(w.Body.String(), c.says) {
				t.Fatalf("got %d %s, want %q", w.Code, w.Body, c.says)
			}
			if len(h.dropped) != 0 || len(h.staged) == 0 {
				t.Errorf("got dropped %v and staged %v, want all kept", h.dropped, h.staged)
			}
		})
	}
}

func TestAFileNoResolverClaimsIsDropped(t *testing.T) {
	for name, operations := range map[string]string{
		"a resolver that leaves it": leaveOne,
		"a document that is wrong":  `{"query":"mutation($f:Upload){nothing(file:$f)}","variables":{"f":null}}`,
		"a resolver that panics":    `{"query":"query($f:Upload){panics}","variables":{"f":null}}`,
	} {
		h := newHouse(Options{})
		h.upload(part("operations", "", operations) + part("map", "", `{"0":["variables.f"]}`) + part("0", "a.csv", "alpha") + lastBoundary)
		if len(h.staged) != 0 || len(h.dropped) != 1 {
			t.Errorf("%s: got staged %v, dropped %v", name, h.staged, h.dropped)
		}
	}
}

func TestABrokenUploadIsRefusedAndLeavesNothingBehind(t *testing.T) {
	operations, oneMap, file := part("operations", "", takeOne), part("map", "", `{"0":["variables.f"]}`), part("0", "a.csv", "alpha")
	for _, c := range []struct {
		name    string
		body    string
		headers []string
		status  int
		code    string
	}{
		{"nobody signed in", operations + oneMap + file + lastBoundary, []string{"Authorization: ", "GraphQL-Require-Preflight: 1"}, 401, codeUnauthenticated},
		{"no preflight header", operations + oneMap + file + lastBoundary, []string{"Authorization: -"}, 403, codeForbidden},
		{"a bad token", operations + oneMap + file + lastBoundary, []string{"Authorization: Bearer bad"}, 401, codeUnauthenticated},
		{"no boundary", operations + oneMap + file + lastBoundary, []string{"Content-Type: multipart/form-data"}, 400, codeBadInput},
		{"no body", "", nil, 400, codeBadInput},
		{"truncated in the head of a file", operations + part("map", "", `{"0":["variables.f"],"1":["variables.g"]}`) + file + part("1", "b", "xx")[:60], nil, 400, codeBadInput},
		{"truncated inside the file", operations + oneMap + file[:len(file)-4], nil, 400, codeBadInput},
		{"no last boundary", operations + oneMap + file, nil, 400, codeBadInput},
		{"the map first", oneMap + operations + file + lastBoundary, nil, 400, codeBadInput},
		{"the file first", operations + file + oneMap + lastBoundary, nil, 400, codeBadInput},
		{"no map", operations + lastBoundary, nil, 400, codeBadInput},
		{"a map of another shape", operations + part("map", "", `["variables.f"]`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a map without paths", operations + part("map", "", `{"0":[]}`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a path outside the variables", operations + part("map", "", `{"0":["query"]}`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a path to nothing", operations + part("map", "", `{"0":["variables.h"]}`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a path through a null", operations + part("map", "", `{"0":["variables.f.x"]}`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a path past a list", part("operations", "", takeList) + part("map", "", `{"0":["variables.f.list.2"]}`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a path of no number", part("operations", "", takeList) + part("map", "", `{"0":["variables.f.list.-1"]}`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a path to what is no null", part("operations", "", `{"query":"{me}","variables":{"f":1}}`) + oneMap + file + lastBoundary, nil, 400, codeBadInput},
		{"two files on one path", operations + part("map", "", `{"0":["variables.f"],"1":["variables.f"]}`) + file + lastBoundary, nil, 400, codeBadInput},
		{"a file the map does not name", operations + oneMap + part("1", "b", "x") + lastBoundary, nil, 400, codeBadInput},
		{"the same file twice", operations + oneMap + file + file + lastBoundary, nil, 400, codeBadInput},
		{"a file that does not come", operations + oneMap + lastBoundary, nil, 400, codeBadInput},
		{"a part that is no file", operations + oneMap + part("0", "", "alpha") + lastBoundary, nil, 400, codeBadInput},
		{"a batch", part("operations", "", "["+takeOne+"]") + oneMap + file + lastBoundary, nil, 400, codeBadInput},
		{"eleven files", operations + part("map", "", `{"0":["a"],"1":["a"],"2":["a"],"3":["a"],"4":["a"],"5":["a"],"6":["a"],"7":["a"],"8":["a"],"9":["a"],"10":["a"]}`) + lastBoundary, nil, 400, codeLimitExceeded},
		{"large operations", part("operations", "", strings.Repeat(" ", 2<<20)) + oneMap + file + lastBoundary, nil, 413, codeLimitExceeded},
		{"a large file", operations + oneMap + part("0", "a", strings.Repeat("x", 5<<20)) + lastBoundary, nil, 413, codeLimitExceeded},
		{"a full disk", operations + oneMap + part("0", "full", "x") + lastBoundary, nil, 500, codeInternal},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(Options{MaxUploadBytes: 4 << 20})
			r := request("POST", "/graphql", c.body, append([]string{
				"Content-Type: multipart/form-data; boundary=" + boundary, "Authorization: Bearer ada",
			}, c.headers...)...)
			for name, values := range r.Header {
				if values[0] == "" || values[0] == "-" {
					delete(r.Header, name)
				}
			}
			r.ContentLength = -1 // as with chunks, so that the bound is met while reading
			w := h.do(r)
			if w.Code != c.status || decode(t, w.Body.Bytes()).code() != c.code {
				t.Fatalf("got %d %s, want %d %s", w.Code, w.Body, c.status, c.code)
			}
			if len(h.staged) != 0 {
				t.Errorf("left behind: %v", h.staged)
			}
		})
	}
}

func FuzzEveryUploadIsAnsweredAndLeavesNothingUnclaimed(f *testing.F) {
	f.Add(part("operations", "", takeOne) + part("map", "", `{"0":["variables.f"]}`) + part("0", "a.csv", "alpha") + lastBoundary)
	f.Add(part("operations", "", takeList) + part("map", "", `{"a":["variables.f.list.0","variables.f.one"]}`) + part("a", "a", "alpha") + lastBoundary)
	h := newHouse(Options{})
	f.Fuzz(func(t *testing.T, body string) {
		clear(h.staged)
		h.dropped, h.finished = nil, nil
		w := h.upload(body)
		a := decode(t, w.Body.Bytes())
		if a.Errors != nil && len(h.staged) != 0 {
			t.Fatalf("%q: got %s and left %v", body, w.Body, h.staged)
		}
	})
}
