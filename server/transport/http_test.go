package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAPostIsAnsweredByItsMediaTypes(t *testing.T) {
	const (
		legacy = "Accept: application/json"
		modern = "Accept: application/graphql-response+json"
	)
	for _, c := range []struct {
		name    string
		body    string
		headers []string
		status  int
		code    string
		says    string
	}{
		{"a query", `{"query":"{me}"}`, []string{legacy}, 200, "", `{"data":{"me":""}}`},
		{"a query, modern", `{"query":"{me}"}`, []string{modern}, 200, "", `{"data":{"me":""}}`},
		{"no Accept", `{"query":"{me}"}`, nil, 200, "", `{"data":{"me":""}}`},
		{"white space before", " \n" + `{"query":"{me}"}`, nil, 200, "", `{"data":{"me":""}}`},
		{"a charset", `{"query":"{me}"}`, []string{"Content-Type: application/json; charset=UTF-8"}, 200, "", `{"data"`},
		{"another charset", `{"query":"{me}"}`, []string{"Content-Type: application/json; charset=latin1"}, 415, codeBadInput, "UTF-8"},
		{"another media type", `{"query":"{me}"}`, []string{"Content-Type: text/plain"}, 415, codeBadInput, "application/json"},
		{"no media type", `{"query":"{me}"}`, []string{"Content-Type: "}, 415, codeBadInput, "application/json"},
		{"nothing acceptable", `{"query":"{me}"}`, []string{"Accept: text/html"}, 406, codeBadInput, "application/json"},
		{"a syntax error", `{"query":"{"}`, []string{legacy}, 200, codeBadInput, "Expected Name"},
		{"a syntax error, modern", `{"query":"{"}`, []string{modern}, 400, codeBadInput, "Expected Name"},
		{"a wrong field", `{"query":"{no}"}`, []string{legacy}, 200, codeBadInput, "no"},
		{"a wrong field, modern", `{"query":"{no}"}`, []string{modern}, 400, codeBadInput, "no"},
		{"no body", ``, []string{legacy}, 400, codeBadInput, "not JSON"},
		{"no JSON", `{`, []string{legacy}, 400, codeBadInput, "not JSON"},
		{"more after it", `{"query":"{me}"}x`, []string{legacy}, 400, codeBadInput, "not JSON"},
		{"a batch", ` [{"query":"{me}"}]`, []string{legacy}, 400, codeBadInput, "Batches"},
		{"a string", `"{me}"`, []string{legacy}, 400, codeBadInput, "object"},
		{"no query", `{}`, []string{legacy}, 400, codeBadInput, "no query"},
		{"an empty query", `{"query":""}`, []string{legacy}, 400, codeBadInput, "no query"},
		{"a query that is a number", `{"query":1}`, []string{legacy}, 400, codeBadInput, "query must be a string"},
		{"a name that is a number", `{"query":"{me}","operationName":1}`, []string{legacy}, 400, codeBadInput, "operationName must be a string"},
		{"variables that are a list", `{"query":"{me}","variables":[]}`, []string{legacy}, 400, codeBadInput, "variables must be"},
		{"extensions that are a text", `{"query":"{me}","extensions":"x"}`, []string{legacy}, 400, codeBadInput, "extensions must be"},
		{"nulls", `{"query":"{me}","variables":null,"extensions":null,"operationName":null}`, []string{legacy}, 200, "", "data"},
		{"a missing variable", `{"query":"query Add($x:Int!){add(x:$x)}"}`, []string{legacy}, 200, codeBadInput, "Variable $x of query Add: must be defined."},
		{"an ill-typed variable", `{"query":"query Add($x:Int!){add(x:$x)}","variables":{"x":"y"}}`, []string{legacy}, 200, codeBadInput, "Variable $x of query Add"},
		{"an ill-typed element", `{"query":"query Add($t:[String!]){add(x:1,tags:$t)}","variables":{"t":["a",true]}}`, []string{legacy}, 200, codeBadInput, "Variable $t[1] of query Add"},
		{"the first of two operations", `{"query":"query A{me} query B{fails}","operationName":"A"}`, []string{legacy}, 200, "", "data"},
		{"none of two operations", `{"query":"query A{me} query B{fails}"}`, []string{modern}, 400, codeBadInput, "operationName"},
		{"a third of two operations", `{"query":"query A{me} query B{fails}","operationName":"C"}`, []string{modern}, 400, codeBadInput, "no operation"},
		{"a subscription", `{"query":"subscription{ticks(n:1)}"}`, []string{legacy}, 406, codeBadInput, "event-stream"},
		{"a resolver error", `{"query":"{fails}"}`, []string{modern}, 200, "NOT_FOUND", `"data":{"fails":null}`},
		{"a panic", `{"query":"{panics}"}`, []string{modern}, 500, codeInternal, "internal system error"},
		{"a signed-in caller", `{"query":"{me}"}`, []string{"Authorization: Bearer ada"}, 200, "", `{"data":{"me":"ada"}}`},
		{"a bad token", `{"query":"{me}"}`, []string{legacy, "Authorization: Bearer bad"}, 401, codeUnauthenticated, "not good"},
		{"a bad token, modern", `{"query":"{me}"}`, []string{modern, "Authorization: Bearer bad"}, 401, codeUnauthenticated, "not good"},
		{"a large body", `{"query":"` + strings.Repeat(" ", 1<<20) + `"}`, []string{legacy}, 413, codeLimitExceeded, "bodyBytes"},
		{"many values", `{"query":"{me}","variables":{"a":[` + strings.Repeat("1,", 30000) + `1]}}`, []string{legacy}, 400, codeLimitExceeded, "values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(Options{})
			w := h.do(request("POST", "/graphql", c.body, c.headers...))
			text := w.Body.Bytes()
			a := decode(t, text)
			if w.Code != c.status || a.code() != c.code || !strings.Contains(string(text), c.says) {
				t.Fatalf("got %d %s\nwant %d with code %q and %q", w.Code, text, c.status, c.code, c.says)
			}
			if got := w.Header().Get("Content-Length"); len(text) > countedByServer && got != fmt.Sprint(len(text)) {
				t.Errorf("got Content-Length %s of %d", got, len(text))
			}
			if got := w.Header().Get("Content-Type"); !strings.HasSuffix(got, "json; charset=utf-8") {
				t.Errorf("got Content-Type %s", got)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" { // it may hold tokens
				t.Errorf("got Cache-Control %q", got)
			}
			if executed := c.code == "" || c.code == "NOT_FOUND"; executed != (a.Data != nil) {
				t.Errorf("got data %s, executed %v", a.Data, executed)
			}
			if c.code == codeBadInput && a.Errors[0].Extensions["requestId"] != "req_1" {
				t.Errorf("got extensions %v, want a requestId", a.Errors[0].Extensions)
			}
			if len(h.finished) != 1 {
				t.Errorf("got %d operations reported, want 1", len(h.finished))
			}
		})
	}
}

func TestAGetAnswersQueriesOnlyAndOnlyWithAPreflightHeader(t *testing.T) {
	target := func(pairs ...string) string {
		values := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			values.Set(pairs[i], pairs[i+1])
		}
		return "/graphql?" + values.Encode()
	}
	const asked = "GraphQL-Require-Preflight: 1"
	for _, c := range []struct {
		name    string
		target  string
		headers []string
		status  int
		says    string
	}{
		{"a query", target("query", "{me}"), []string{asked}, 200, `{"data":{"me":""}}`},
		{"with variables", target("query", "query($x:Int!){add(x:$x)}", "variables", `{"x":7}`), []string{asked}, 200, `"7"`},
		{"with a name", target("query", "query A{me} query B{fails}", "operationName", "A"), []string{asked}, 200, `{"data":{"me":""}}`},
		{"without header", target("query", "{me}"), nil, 403, "GraphQL-Require-Preflight"},
		{"with a form's content type", target("query", "{me}"), []string{"Content-Type: text/plain"}, 403, "hint"},
		{"with Apollo's header", target("query", "{me}"), []string{"Apollo-Require-Preflight: true"}, 200, "data"},
		{"with a token", target("query", "{me}"), []string{"Authorization: Bearer ada"}, 200, "ada"},
		{"with a content type no form has", target("query", "{me}"), []string{"Content-Type: application/json"}, 200, "data"},
		{"a mutation", target("query", "mutation{set(x:1)}"), []string{asked}, 405, "POST"},
		{"no query", "/graphql", []string{asked}, 400, "no query"},
		{"broken variables", target("query", "{me}", "variables", "{"), []string{asked}, 400, "variables must be"},
		{"a broken query string", "/graphql?query=%zz", []string{asked}, 400, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newHouse(Options{}).do(request("GET", c.target, "", c.headers...))
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
				t.Fatalf("got %d %s, want %d with %q", w.Code, w.Body, c.status, c.says)
			}
			if c.status == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("got Allow %q", w.Header().Get("Allow"))
			}
		})
	}
	w := newHouse(Options{}).do(request("PUT", "/graphql", ""))
	if w.Code != 405 || w.Header().Get("Allow") != "GET, POST" {
		t.Errorf("PUT: got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

func TestAtMostTenErrorsAreAnswered(t *testing.T) {
	for name, body := range map[string]string{
		"of resolvers":  `{"query":"{manyErrors}"}`,
		"of validation": `{"query":"{` + strings.Repeat("x ", 25) + `}"}`,
	} {
		a := decode(t, newHouse(Options{}).do(request("POST", "/graphql", body)).Body.Bytes())
		if len(a.Errors) != 10 || a.Extensions["errorsOmitted"] != 15.0 {
			t.Errorf("%s: got %d errors, extensions %v", name, len(a.Errors), a.Extensions)
		}
	}
}

func TestAMissingVariableIsNamedWithItsOperationAndNoPath(t *testing.T) {
	a := decode(t, newHouse(Options{}).do(request("POST", "/graphql", `{"query":"query Add($x:Int!){add(x:$x)}"}`)).Body.Bytes())
	if e := a.Errors[0]; e.Path != nil || e.Extensions["variable"] != "x" || e.Extensions["operation"] != "Add" {
		t.Errorf("got %+v", e)
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	w := newHouse(Options{}).do(request("POST", "/graphql", `{"query":"query($x:Int!){add(x:$x)}","variables":{"x":9007199254740993}}`))
	if !strings.Contains(w.Body.String(), "9007199254740993") {
		t.Errorf("got %s", w.Body)
	}
}

type brokenBody struct{ text string }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.text == "" {
		return 0, errors.New("connection reset")
	}
	n := copy(p, b.text)
	b.text = b.text[n:]
	return n, nil
}

func TestABodyThatBreaksOffIsABadRequest(t *testing.T) {
	r := request("POST", "/graphql", "")
	r.Body, r.ContentLength = io.NopCloser(&brokenBody{`{"query":`}), -1
	if w := newHouse(Options{}).do(r); w.Code != 400 || !strings.Contains(w.Body.String(), "could not be read") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestTheClientsQualitiesDecideTheMediaType(t *testing.T) {
	for header, want := range map[string]acceptance{
		"":                 {},
		"*/*":              {media: mediaJSON},
		"application/*":    {media: mediaJSON},
		"application/json": {media: mediaJSON},
		"application/graphql-response+json, application/json;q=0.9": {media: mediaGraphQL},
		"application/json;q=0.5, application/graphql-response+json": {media: mediaGraphQL},
		"application/graphql-response+json;q=0, application/json":   {media: mediaJSON},
		"application/graphql-response+json; charset=utf-8":          {media: mediaGraphQL},
		"text/event-stream": {stream: true},
		"application/graphql-response+json, text/event-stream":  {media: mediaGraphQL, stream: true},
		"text/html, image/png;q=x, application/json;q=nonsense": {},
		"APPLICATION/JSON": {media: mediaJSON},
	} {
		if got := negotiate([]string{header}); got != want {
			t.Errorf("%q: got %+v, want %+v", header, got, want)
		}
	}
}

func TestValuesAreCountedOutsideStringsOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.String(), 1, 50).Draw(t, "list")
		text, err := json.Marshal(append(list, strings.Repeat("[", smallEnoughBytes)))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := countValues(text), len(list)+1; got != want { // a bracket and a comma for each but the last
			t.Fatalf("got %d, want %d: %.200s", got, want, text)
		}
	})
}

func FuzzEveryBodyIsAnswered(f *testing.F) {
	f.Add(`{"query":"query A($x:Int!){add(x:$x)}","variables":{"x":1},"operationName":"A","extensions":{}}`)
	f.Add(`[{"query":"{me}"}]`)
	f.Add(`{"query":"{manyErrors}"}`)
	h := newHouse(Options{})
	f.Fuzz(func(t *testing.T, body string) {
		w := h.do(request("POST", "/graphql", body))
		if !json.Valid(w.Body.Bytes()) || w.Code == http.StatusInternalServerError && !strings.Contains(body, "panics") {
			t.Fatalf("%q: got %d %s", body, w.Code, w.Body)
		}
		h.finished = nil
	})
}
