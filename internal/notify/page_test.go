package notify

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func get(t testing.TB, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer
}

// keep puts r into a new outbox and returns it with the message's id.
func keep(t testing.TB, folder string, r Rendered) (*Outbox, string) {
	t.Helper()
	o := newOutbox(t, folder)
	if err := o.Send(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	kept, err := o.List(t.Context(), 1)
	if err != nil || len(kept) != 1 {
		t.Fatalf("%v, error %v", kept, err)
	}
	return o, kept[0].ID
}

func TestTheOutboxPageListsAndShowsMessages(t *testing.T) {
	folder := t.TempDir()
	if body := get(t, newOutbox(t, folder).Page(), "/outbox").Body.String(); !strings.Contains(body, "Nothing has been sent yet.") {
		t.Errorf("an empty outbox:\n%s", body)
	}
	r := rendered(t)
	o, id := keep(t, folder, r)
	if err := o.Send(t.Context(), renderedSMS(t)); err != nil {
		t.Fatal(err)
	}
	page := o.Page()
	for _, path := range []string{"/outbox", "/outbox/"} {
		list := html.UnescapeString(get(t, page, path).Body.String())
		for _, want := range []string{r.Subject, r.To, string(r.Kind), "/outbox/" + id, "5 Mar 13:07", "SMS · mfaCode", "+491701234567"} {
			if !strings.Contains(list, want) {
				t.Errorf("%s lacks %q:\n%s", path, want, list)
			}
		}
		if strings.Index(list, "SMS ·") > strings.Index(list, r.Subject) {
			t.Error("the older message stands first")
		}
	}
	answer := get(t, page, "/outbox/"+id)
	link := html.EscapeString(r.Link)
	for _, want := range []string{
		`<a href="` + link + `" target="_blank" rel="noopener noreferrer">` + link + `</a>`, `<code>` + testCode + `</code>`,
		`<code class="key">` + testCode + `</code>`, `<iframe src="/outbox/` + id + `/html" title="The message&#39;s HTML" sandbox>`, r.To,
	} {
		if !strings.Contains(answer.Body.String(), want) && !strings.Contains(answer.Body.String(), strings.ReplaceAll(want, "&#39;", "'")) {
			t.Errorf("the message lacks %q:\n%s", want, answer.Body)
		}
	}
	text := regexp.MustCompile(`(?s)<pre>(.*)</pre>`).FindStringSubmatch(answer.Body.String())
	if len(text) != 2 || html.UnescapeString(tags.ReplaceAllString(text[1], "")) != r.Text {
		t.Errorf("the text is %q, want %q", text, r.Text)
	}
	if body := get(t, page, "/outbox/"+id+"/html").Body.String(); body != r.HTML {
		t.Errorf("the HTML is %q", body)
	}
}

func TestEveryAnswerOfTheOutboxCarriesAStrictPolicy(t *testing.T) {
	o, id := keep(t, t.TempDir(), rendered(t))
	page := o.Page()
	sum := sha256.Sum256([]byte(pageStyle))
	style := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	for path, want := range map[string]struct {
		status int
		policy string
	}{
		"/outbox": {200, style}, "/outbox/" + id: {200, style}, "/outbox/" + id + "/html": {200, "sandbox; default-src 'none'"},
		"/outbox/nothing": {404, style}, "/outbox/nothing/html": {404, style}, "/elsewhere": {404, style}, "/outbox/a/b/c": {404, style},
	} {
		answer := get(t, page, path)
		policy := answer.Header().Get("Content-Security-Policy")
		if answer.Code != want.status || !strings.Contains(policy, want.policy) || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: status %d, policy %q", path, answer.Code, policy)
		}
		if strings.Contains(policy, "script") || strings.Contains(policy, "allow-") {
			t.Errorf("%s: policy %q", path, policy)
		}
		for name, value := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := answer.Header().Get(name); got != value {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if want.status == 200 && want.policy == style && !strings.Contains(answer.Body.String(), "<style>"+pageStyle+"</style>") {
			t.Errorf("%s: the style is not the one that the policy allows", path)
		}
	}
	answer := httptest.NewRecorder()
	page.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/outbox", nil))
	if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("POST: status %d, header %v", answer.Code, answer.Header())
	}
}

func TestAnSMSHasNoHTMLToShow(t *testing.T) {
	o, id := keep(t, t.TempDir(), renderedSMS(t))
	if body := get(t, o.Page(), "/outbox/"+id).Body.String(); strings.Contains(body, "<iframe") || !strings.Contains(body, "@example.com #<code>") {
		t.Errorf("the page:\n%s", body)
	}
	if answer := get(t, o.Page(), "/outbox/"+id+"/html"); answer.Code != http.StatusNotFound {
		t.Errorf("status %d", answer.Code)
	}
}

func TestHostileMessagesStayTextOnTheOutboxPage(t *testing.T) {
	elements := regexp.MustCompile(`<[a-zA-Z/!][^>]*>`)
	calmOutbox, calmID := keep(t, t.TempDir(), Rendered{Kind: "x", Language: "x", To: "x", Subject: "x", Text: "x", HTML: "x"})
	calm := len(elements.FindAllString(get(t, calmOutbox.Page(), "/outbox/"+calmID).Body.String(), -1))
	calmList := len(elements.FindAllString(get(t, calmOutbox.Page(), "/outbox").Body.String(), -1))
	folder := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		r := Rendered{Subject: "x", HTML: "<script>alert(1)</script>"}
		for _, field := range []*string{&r.To, &r.Subject, &r.Language} {
			*field = "x" + printable(hostile().Draw(rt, "text"))
		}
		r.Text = "x" + strings.ToValidUTF8(hostile().Draw(rt, "text"), "")
		r.Kind = Kind("x" + hostile().Draw(rt, "kind"))
		o, id := keep(t, folder, r)
		if got := len(elements.FindAllString(get(t, o.Page(), "/outbox/"+id).Body.String(), -1)); got != calm {
			rt.Errorf("%d elements instead of %d", got, calm)
		}
		if err := forget(o.path(id)); err != nil {
			rt.Fatal(err)
		}
		o, _ = keep(t, folder, r)
		if got := len(elements.FindAllString(get(t, o.Page(), "/outbox").Body.String(), -1)); got != calmList {
			rt.Errorf("%d elements in the list instead of %d", got, calmList)
		}
		kept, err := o.List(t.Context(), 0)
		if err != nil {
			rt.Fatal(err)
		}
		for _, k := range kept {
			if err := forget(o.path(k.ID)); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

func TestALinkThatIsNoWebAddressIsNotFollowed(t *testing.T) {
	o, id := keep(t, t.TempDir(), Rendered{Subject: "x", Text: "go to javascript:alert(1)", Link: "javascript:alert(1)"})
	if body := get(t, o.Page(), "/outbox/"+id).Body.String(); strings.Contains(body, `href="javascript:`) {
		t.Errorf("the page:\n%s", body)
	}
}
