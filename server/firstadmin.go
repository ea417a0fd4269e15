package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"time"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/session"
)

// firstAdminPath is where the one-time link of the first start leads.
const firstAdminPath = "/first-admin"

// firstAdminTries limits how often a network may try the form.
var firstAdminTries = limit.Rule{Name: "first-admin", Limit: 10, Per: time.Minute, Burst: 10}

//go:embed firstadmin.html
var firstAdminSource string

// firstAdmin is the page by which the first administrator of a deployment is made. Whoever holds the
// link that the server logs at its start may use it, once, and only while there is no administrator.
type firstAdmin struct {
	*app
	page  *template.Template
	token string
}

// newFirstAdmin returns the page, nil when it is not asked for or there is an administrator.
func (a *app) newFirstAdmin(ctx context.Context) (*firstAdmin, error) {
	if !a.settings.FirstAdminLink {
		return nil, nil
	}
	there, err := a.accounts.HasAdmin(ctx, a.db)
	if err != nil || there {
		return nil, err
	}
	key, err := a.secrets.vault.Key(ctx, "first admin link", func() (secret.Key, error) { return secret.NewKey(), nil })
	if err != nil {
		return nil, err
	}
	page, err := template.New("").Parse(firstAdminSource)
	return &firstAdmin{app: a, page: page, token: base64.RawURLEncoding.EncodeToString(key[:])}, err
}

// link is what the log tells.
func (f *firstAdmin) link() string {
	return f.settings.PublicURL + firstAdminPath + "?token=" + f.token
}

// firstAdminForm is what the page shows.
type firstAdminForm struct {
	Product, Token, Email, Name, Problem, Done string
}

// ServeHTTP shows the form on GET and makes the administrator on POST: a link that is followed by a
// mail scanner or fetched ahead does nothing.
func (f *firstAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	r.Body = http.MaxBytesReader(w, r.Body, maxTokenRequest)
	form := firstAdminForm{Product: f.settings.Product, Token: r.FormValue("token"), Email: r.PostFormValue("email"), Name: r.PostFormValue("name")}
	status := http.StatusOK
	there, err := f.accounts.HasAdmin(r.Context(), f.db)
	switch {
	case err != nil:
		f.logger.ErrorContext(r.Context(), "administrators were not read", "error", err)
		status, form.Problem, form.Token = http.StatusInternalServerError, "Something went wrong on the server.", ""
	case there || !same(form.Token, f.token):
		status, form.Problem, form.Token = http.StatusNotFound, "This link is not, or no longer, good.", ""
	case r.Method == http.MethodPost:
		status = f.make(r, &form)
	}
	w.WriteHeader(status)
	if err := f.page.Execute(w, form); err != nil {
		f.logger.DebugContext(r.Context(), "the page was not sent", "error", err)
	}
}

// make makes the administrator and says in form how it went.
func (f *firstAdmin) make(r *http.Request, form *firstAdminForm) int {
	ctx := r.Context()
	ip := (&doorkeeper{settings: f.settings}).address(r)
	decision, err := f.limiter.Allow(ctx, firstAdminTries, session.Network(ip), 1)
	if err == nil && !decision.Allowed {
		err = fault.Slow(decision.RetryAfter)
	}
	if err == nil {
		_, err = f.accounts.CreateFirstAdmin(ctx, account.Registration{
			Email: form.Email, Password: r.PostFormValue("password"), Name: form.Name,
		}, func(tx *store.Tx) error { return f.secrets.vault.OnceTx(ctx, tx, "first admin made") })
	}
	if refusal, ok := fault.As(err); ok {
		form.Problem = refusal.Message
		return http.StatusUnprocessableEntity
	}
	if err != nil {
		f.logger.ErrorContext(ctx, "the first administrator was not made", "error", err)
		form.Problem = "Something went wrong on the server."
		return http.StatusInternalServerError
	}
	form.Done, form.Token = "You are the administrator now. Sign in with this address and password.", ""
	return http.StatusOK
}

// same compares in constant time, whatever the lengths.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
