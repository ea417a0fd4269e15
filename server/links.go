package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the view and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"time"
	"unicode/utf8"

	"gatehouse/account"
	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
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
	view   *template.Template
	policy string
}

// linkPage is what a page shows.
type linkPage struct {
	linkWords
	Product  string
	Style    template.CSS
	Address  string // where the mail went, masked; may be empty
	Token    string // of the form; empty: no form
	Password bool   // the form asks for a new password
	Outcome  string // what has happened; empty: nothing yet
	Problem  string // why not
}

func (a *app) linkPages() (http.Handler, error) {
	view, err := template.New("links").Parse(linkView)
	if err != nil {
		return nil, fmt.Errorf("read page of links: %w", err)
	}
	sum := sha256.Sum256([]byte(linkStyle))
	pages := &linkPages{app: a, view: view, policy: "default-src 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /links/{purpose}", pages.look)
	mux.HandleFunc("POST /links/{purpose}", pages.act)
	foreign := http.NewCrossOriginProtection()
	if err := foreign.AddTrustedOrigin(a.settings.PublicURL); err != nil { // a proxy may have changed Host
		return nil, fmt.Errorf("read public-url: %w", err)
	}
	return foreign.Handler(mux), nil
}

// look says what the link would do.
func (p *linkPages) look(w http.ResponseWriter, r *http.Request) {
	purpose := account.Purpose(r.PathValue("purpose"))
	words, known := wordsOfLinks[purpose]
	if !known {
		http.NotFound(w, r)
		return
	}
	page := linkPage{linkWords: words}
	proof, err := p.app.accounts.Look(r.Context(), purpose, r.URL.Query().Get("token"), p.origin(r))
	if err != nil {
		p.refuse(w, r, page, err)
		return
	}
	page.Address = masked(proof.Detail.Email)
	if purpose == account.ToLogIn && proof.Detail.Mode != session.Cookie {
		page.Outcome = "Go back to where you asked for this mail and enter its code there."
		p.show(w, r, http.StatusOK, page)
		return
	}
	page.Token, page.Password = r.URL.Query().Get("token"), purpose == account.ToResetPassword
	p.show(w, r, http.StatusOK, page)
}

// act does what the link is for.
func (p *linkPages) act(w http.ResponseWriter, r *http.Request) {
	purpose := account.Purpose(r.PathValue("purpose"))
	words, known := wordsOfLinks[purpose]
	if !known {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLinkForm)
	page := linkPage{linkWords: words}
	if err := r.ParseForm(); err != nil {
		p.refuse(w, r, page, fault.New(fault.Invalid, "", "The form is not readable."))
		return
	}
	token := r.PostForm.Get("token")
	to, err := p.follow(w, r, purpose, token)
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
		page.Outcome = words.Done
		p.show(w, r, http.StatusOK, page)
	}
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
		return "", fault.New(fault.WrongState, "", "Enter the code where you asked for this mail.")
	}
	entry, err := p.app.logins.ByLink(r.Context(), token, login.Client{Origin: from, Mode: session.Cookie, Trust: jar{r, w}.Device()})
	if err != nil {
		return "", err
	}
	if !entry.SignedIn() {
		return "", fault.New(fault.WrongState, "", "This sign-in needs one step more. Ask for another mail and enter its code where you sign in.")
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
		return "", fault.New(fault.WrongState, "", "The copy is not there yet, or no longer.")
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

// refuse shows why something was not done.
func (p *linkPages) refuse(w http.ResponseWriter, r *http.Request, page linkPage, err error) {
	status := http.StatusBadRequest
	f, ok := fault.As(err)
	switch {
	case !ok:
		p.app.logger.ErrorContext(r.Context(), "a link was not followed", "error", err)
		page.Problem, status = "Something went wrong on the server. Try again in a moment.", http.StatusInternalServerError
	case f.Code == fault.RateLimited:
		page.Problem, status = f.Message, http.StatusTooManyRequests
	case f.Code == fault.Unavailable:
		page.Problem, status = f.Message, http.StatusServiceUnavailable
	default:
		page.Problem = f.Message
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
