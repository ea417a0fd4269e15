package notify

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the views and their style
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"
)

var (
	//go:embed outbox.html
	pageViews string
	//go:embed outbox.css
	pageStyle string
)

// page serves an outbox.
type page struct {
	outbox *Outbox
	views  *template.Template
	policy string
	routes *http.ServeMux
}

// Page shows the outbox: /outbox lists the newest messages, /outbox/ID shows one, and /outbox/ID/html
// is its HTML as it was sent. There are no scripts, and the content security policy that each answer
// carries would let none run; a message's own HTML stands in a frame without any right. The pages are
// open to whoever reaches them and show what lets one into accounts: serve them in development only,
// on loopback.
func (o *Outbox) Page() http.Handler {
	p := &page{outbox: o, routes: http.NewServeMux()}
	p.views = template.Must(template.New("").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(pageStyle) },
		"pieces": pieces,
		"at":     func(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05 UTC") },
	}).Parse(pageViews))
	sum := sha256.Sum256([]byte(pageStyle))
	p.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	p.routes.HandleFunc("GET /outbox", p.list)
	p.routes.HandleFunc("GET /outbox/{$}", p.list)
	p.routes.HandleFunc("GET /outbox/{id}", p.message)
	p.routes.HandleFunc("GET /outbox/{id}/html", p.html)
	return p
}

// mailPolicy is for a message's own HTML (CSP Level 3 §6.3.2): an origin of its own, no scripts, no
// forms, nothing loaded. Mail has its style in its elements.
const mailPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", p.policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer") // a link from here is a secret, and so is its page's address
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	p.routes.ServeHTTP(w, r)
}

func (p *page) list(w http.ResponseWriter, r *http.Request) {
	kept, err := p.outbox.List(r.Context(), outboxKeeps)
	if err != nil {
		http.Error(w, "The outbox cannot be read.", http.StatusInternalServerError)
		return
	}
	p.show(w, "list", kept)
}

func (p *page) message(w http.ResponseWriter, r *http.Request) {
	if kept, found := p.find(w, r); found {
		p.show(w, "message", kept)
	}
}

func (p *page) html(w http.ResponseWriter, r *http.Request) {
	kept, found := p.find(w, r)
	if !found {
		return
	}
	if kept.Message.HTML == "" {
		http.Error(w, "This message has no HTML.", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Security-Policy", mailPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(kept.Message.HTML)) // who asked may be gone
}

// find returns the message that the path names, or answers that it cannot.
func (p *page) find(w http.ResponseWriter, r *http.Request) (Kept, bool) {
	kept, err := p.outbox.Get(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, ErrNotKept):
		http.Error(w, "There is no such message, or no longer.", http.StatusNotFound)
	case err != nil:
		http.Error(w, "The message cannot be read.", http.StatusInternalServerError)
	}
	return kept, err == nil
}

// show answers with a view, once it is whole.
func (p *page) show(w http.ResponseWriter, view string, data any) {
	var whole bytes.Buffer
	if err := p.views.ExecuteTemplate(&whole, view, data); err != nil {
		http.Error(w, "The page cannot be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = whole.WriteTo(w) // who asked may be gone
}

// piece is a part of a message's text.
type piece struct {
	Text string
	Code bool // the code, to be marked
	Link bool // the link, to be followed
}

// pieces cuts a message's text where its link and its code stand. Only they are marked, since only of
// them do we know that we wrote them.
func pieces(r Rendered) []piece {
	var cut []piece
	for i, part := range split(r.Text, r.Link) {
		if i > 0 {
			cut = append(cut, piece{Text: r.Link, Link: true})
		}
		for j, text := range split(part, r.Code) {
			if j > 0 {
				cut = append(cut, piece{Text: r.Code, Code: true})
			}
			cut = append(cut, piece{Text: text})
		}
	}
	return cut
}

// split is strings.Split that finds nothing empty.
func split(text, at string) []string {
	if at == "" {
		return []string{text}
	}
	return strings.Split(text, at)
}
