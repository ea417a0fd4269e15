package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the view and its style
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"time"
	"unicode/utf8"

	"gatehouse/account"
	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/queue"
	"gatehouse/session"
)

var (
	//go:embed links.html
	linkView string
	//go:embed links.css
	linkStyle string
)

// maxLinkForm bounds the form of a link's page, in bytes.
const maxLinkForm = 16 << 10

// linkPages is where links of mails lead unless a frontend has pages of its own: /links/{purpose}. To look
// (GET, which mail scanners do too) changes nothing; what a link is for happens when its button is pressed
// (POST). The token in the form is the secret that no foreign page knows; a page that knows one of its
// own, and would sign a visitor in to another account with it, is kept out by where the request comes from
// (net/http.CrossOriginProtection). There is no script, nothing is stored, no referrer is sent.
type linkPages struct {
	app    *app
	words  linkWords
	view   *template.Template
	policy string
}

// linkPage is what a page shows. Outcome and Problem are names of words.
type linkPage struct {
	purpose  account.Purpose
	Language linkLanguage
	Product  string
	Style    template.CSS
	Address  string // where the mail went, masked; may be empty
	Token    string // of the form; empty: no form
	Password bool   // the form asks for a new password
	Outcome  string // what has happened; empty: nothing yet
	Problem  string // why not
}

// Say returns words of the page in its language.
func (p linkPage) Say(name string) (string, error) { return p.Language.say(p.purpose, name) }

// obstacle is a refusal that only these pages know, by the name of its words.
type obstacle string

func (o obstacle) Error() string { return string(o) }

const (
	elsewhere  obstacle = "elsewhere"  // whoever asked for the mail keeps tokens, which a page cannot hold
	unfinished obstacle = "unfinished" // another factor is asked for, which a page cannot take
	absent     obstacle = "absent"     // the copy of the data is not made yet, or was deleted
)

// nobody is who follows a link: the link alone counts.
var nobody viewer.Viewer

func (a *app) linkPages() (http.Handler, error) {
	view, err := template.New("links").Parse(linkView)
	if err != nil {
		return nil, fmt.Errorf("read page of links: %w", err)
	}
	sum := sha256.Sum256([]byte(linkStyle))
	words, err := readLinkWords()
	if err != nil {
		return nil, err
	}
	pages := &linkPages{app: a, words: words, view: view, policy: "default-src 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /links/{purpose}", pages.look)
	mux.HandleFunc("POST /links/{purpose}", pages.act)
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(pages.deny))
	if err := foreign.AddTrustedOrigin(a.settings.PublicURL); err != nil { // a proxy may have changed Host
		return nil, fmt.Errorf("read public-url: %w", err)
	}
	return foreign.Handler(mux), nil
}

// look says what the link would do, in the language of the account that a good link belongs to: whoever
// holds it is its owner. A link that is not good says nothing of any account.
func (p *linkPages) look(w http.ResponseWriter, r *http.Request) {
	page, known := p.page(r, "")
	if !known {
		p.show(w, r, http.StatusNotFound, page)
		return
	}
	token := r.URL.Query().Get("token")
	proof, err := p.app.accounts.Look(r.Context(), page.purpose, token, p.origin(r))
	if err != nil {
		p.refuse(w, r, page, err)
		return
	}
	page, _ = p.page(r, p.locale(r.Context(), proof.User))
	page.Address = masked(proof.Detail.Email)
	if page.purpose == account.ToLogIn && proof.Detail.Mode != session.Cookie {
		page.Outcome = string(elsewhere)
		p.show(w, r, http.StatusOK, page)
		return
	}
	page.Token, page.Password = token, page.purpose == account.ToResetPassword
	p.show(w, r, http.StatusOK, page)
}

// page returns the page that a request asks for, in the preferred language or else the browser's, and
// whether there is one.
func (p *linkPages) page(r *http.Request, preferred string) (linkPage, bool) {
	page := linkPage{
		purpose:  account.Purpose(r.PathValue("purpose")),
		Language: p.words.in(preferred, r.Header.Get("Accept-Language")),
	}
	known := page.Language.knows(page.purpose)
	if !known {
		page.Problem = string(fault.TokenInvalid)
	}
	return page, known
}

// locale returns the language of an account; "" when it cannot be read, which is no reason to say nothing.
func (p *linkPages) locale(ctx context.Context, id viewer.UserID) string {
	user, err := p.app.accounts.Get(ctx, id)
	if err != nil {
		p.app.logger.WarnContext(ctx, "the language of a link's account was not read", "error", err)
	}
	return user.Locale
}

// act does what the link is for, in the language that its form was in.
func (p *linkPages) act(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLinkForm)
	unread := r.ParseForm()
	page, known := p.page(r, r.PostForm.Get("language"))
	if !known {
		p.show(w, r, http.StatusNotFound, page)
		return
	}
	if unread != nil {
		p.refuse(w, r, page, fault.New(fault.Invalid, "", "The form is not readable.").With(unread))
		return
	}
	token := r.PostForm.Get("token")
	to, err := p.follow(w, r, page.purpose, token)
	switch {
	case err != nil:
		if f, ok := fault.As(err); ok && len(f.Field) > 0 && f.Field[0] == "newPassword" { // the link is still good
			page.Token, page.Password = token, true
		}
		p.refuse(w, r, page, err)
	case to != "":
		p.harden(w)
		http.Redirect(w, r, to, http.StatusSeeOther)
	default:
		page.Outcome = "done"
		p.show(w, r, http.StatusOK, page)
	}
}

// deny answers a form that another website has sent.
func (p *linkPages) deny(w http.ResponseWriter, r *http.Request) {
	page, _ := p.page(r, "")
	page.Problem = string(fault.Forbidden)
	p.show(w, r, http.StatusForbidden, page)
}

// follow calls the domain, and returns where to go on; "": nowhere.
func (p *linkPages) follow(w http.ResponseWriter, r *http.Request, purpose account.Purpose, token string) (to string, err error) {
	ctx, accounts, from := r.Context(), p.app.accounts, p.origin(r)
	switch purpose {
	case account.ToVerifyEmail:
		_, err = accounts.VerifyEmail(ctx, account.Shown{Token: token}, from)
	case account.ToResetPassword:
		_, err = accounts.ResetPassword(ctx, token, r.PostForm.Get("password"), from)
	case account.ToChangeEmail:
		_, err = accounts.ConfirmEmailChange(ctx, nobody, token, "", from)
	case account.ToUndoEmail:
		_, err = accounts.UndoEmailChange(ctx, token, from)
	case account.ToDisown:
		_, err = accounts.Disown(ctx, token, from)
	case account.ToKeepAccount:
		_, err = accounts.KeepAccount(ctx, nobody, token, from)
	case account.ToLogIn:
		return p.enter(w, r, token)
	case account.ToFetchExport:
		return p.export(ctx, token, from)
	}
	return "", err
}

// enter signs the browser in, if that is where the mail was asked for.
func (p *linkPages) enter(w http.ResponseWriter, r *http.Request, token string) (string, error) {
	from := p.origin(r)
	proof, err := p.app.accounts.Look(r.Context(), account.ToLogIn, token, from)
	if err != nil {
		return "", err
	}
	if proof.Detail.Mode != session.Cookie {
		return "", elsewhere
	}
	entry, err := p.app.logins.ByLink(r.Context(), token, login.Client{Origin: from, Mode: session.Cookie, Trust: jar{r, w}.Device()})
	if err != nil {
		return "", err
	}
	if !entry.SignedIn() {
		return "", unfinished
	}
	jar{r, w}.Set(entry.Tokens)
	return p.app.settings.PublicURL + "/", nil
}

// export returns a signed link to the file of an export job.
func (p *linkPages) export(ctx context.Context, token string, from session.Origin) (string, error) {
	job, err := p.app.accounts.Export(ctx, token, from)
	if err != nil {
		return "", err
	}
	made, err := p.app.queue.Artifacts(ctx, []queue.ID{job})
	if err != nil {
		return "", err
	}
	files := made[job]
	if len(files) == 0 {
		return "", absent
	}
	signer, err := blob.NewSigner(p.app.secrets.links)
	if err != nil {
		return "", err
	}
	id := string(files[0].ID)
	return p.app.settings.PublicURL + "/artifacts/" + id + "?" + signer.Sign(id, time.Now().Add(exportLinkLife)), nil
}

// exportLinkLife is how long a download may begin after its button was pressed.
const exportLinkLife = 5 * time.Minute

// refuse shows why something was not done. Words for a code are the same whatever the domain said, so
// that they can stand in every language.
func (p *linkPages) refuse(w http.ResponseWriter, r *http.Request, page linkPage, err error) {
	status := http.StatusBadRequest
	if only, ok := errors.AsType[obstacle](err); ok {
		page.Problem = string(only)
		p.show(w, r, status, page)
		return
	}
	f, ok := fault.As(err)
	if !ok {
		p.app.logger.ErrorContext(r.Context(), "a link was not followed", "error", err)
		f = fault.New(fault.Internal, "", "")
	}
	switch f.Code {
	case fault.Internal:
		status = http.StatusInternalServerError
	case fault.RateLimited:
		status = http.StatusTooManyRequests
	case fault.Unavailable:
		status = http.StatusServiceUnavailable
	}
	page.Problem = "refused"
	if page.Language.find(page.purpose, string(f.Code)) != nil {
		page.Problem = string(f.Code)
	}
	p.show(w, r, status, page)
}

// show answers with a page, once it is whole.
func (p *linkPages) show(w http.ResponseWriter, r *http.Request, status int, page linkPage) {
	page.Product, page.Style = p.app.settings.Product, template.CSS(linkStyle)
	var whole bytes.Buffer
	if err := p.view.Execute(&whole, page); err != nil {
		p.app.logger.ErrorContext(r.Context(), "a page of a link was not made", "error", err)
		http.Error(w, "The page cannot be made.", http.StatusInternalServerError)
		return
	}
	p.harden(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", page.Language.Tag)
	w.WriteHeader(status)
	_, _ = whole.WriteTo(w) // who asked may be gone
}

// harden sets what keeps a page with a secret to itself.
func (p *linkPages) harden(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
}

func (p *linkPages) origin(r *http.Request) session.Origin {
	keeper := doorkeeper{settings: p.app.settings}
	return session.Origin{Agent: r.UserAgent(), IP: keeper.address(r)}
}

// masked shows of an address what its owner knows it by: the first letter and the domain.
func masked(email string) string {
	for i := len(email) - 1; i > 0; i-- {
		if email[i] == '@' {
			_, size := utf8.DecodeRuneInString(email)
			return email[:size] + "…" + email[i:]
		}
	}
	return ""
}
