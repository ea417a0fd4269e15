package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login/oauth"
	"gatehouse/session"
)

// Source is a provider that people may come from, and where they may be sent back to.
type Source struct {
	Provider *oauth.Provider
	Callback string // our own address among the provider's redirect URLs
	// Pages are other redirect URLs of the provider: pages that receive its answer themselves and pass it
	// to [Identities.Complete].
	Pages []string
	// RedirectTo are addresses that the browser may be sent to from Callback, matched exactly. The first is
	// the default; a page is when there is none.
	RedirectTo []string
}

// IdentityParts are what Identities is built from; all are required but Sources.
type IdentityParts struct {
	Logins  *Logins
	Ring    *secret.Keyring // seals what waits in the database
	Sources []Source        // none: nobody can sign in through a provider
}

// IdentityOptions tunes Identities; the zero value is a good default.
type IdentityOptions struct {
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: silent
}

// Identities is sign-in through identity providers, and what stays of it: the identities that are linked
// to accounts and the tokens of their providers. Its methods may be called from many goroutines.
//
// A sign-in is a flow. [Identities.Start] keeps it, sealed and for ten minutes, bound to the browser by a
// cookie or to the caller by a challenge, and returns where to send the browser. The provider's answer
// comes to a page, which calls [Identities.Complete], or to us ([Identities.Answer]): then the page gets a
// code of 60 s for [Identities.Redeem]. A flow and a code are good once, and with their [Proof] only.
type Identities struct {
	logins  *Logins
	ring    *secret.Keyring
	sources map[string]Source
	names   []string // of sources, as configured
	o       IdentityOptions
}

// NewIdentities returns sign-in through the sources of parts. It connects to nobody.
func NewIdentities(parts IdentityParts, o IdentityOptions) (*Identities, error) {
	if parts.Logins == nil || parts.Ring == nil {
		return nil, errors.New("make identities: a part is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	i := &Identities{logins: parts.Logins, ring: parts.Ring, sources: map[string]Source{}, o: o}
	for _, source := range parts.Sources {
		name := source.Provider.Name()
		if len(source.Pages)+len(source.RedirectTo) == 0 {
			return nil, fmt.Errorf("make identities: %s sends people back to nowhere", name)
		}
		i.sources[name] = source
		i.names = append(i.names, name)
	}
	return i, nil
}

// Providers returns the providers, as they are configured.
func (i *Identities) Providers() []*oauth.Provider {
	all := make([]*oauth.Provider, len(i.names))
	for n, name := range i.names {
		all[n] = i.sources[name].Provider
	}
	return all
}

// Title returns a provider's name for people; its plain name when it is not configured any more.
func (i *Identities) Title(name string) string {
	if source, known := i.sources[name]; known {
		return source.Provider.Title()
	}
	return name
}

// source returns the provider name. Fault: INVALID at provider.
func (i *Identities) source(name string) (Source, error) {
	source, known := i.sources[name]
	if !known {
		return Source{}, fault.New(fault.Invalid, "provider", "There is no such provider.")
	}
	return source, nil
}

// configured returns the provider of a flow or an identity. Fault: OAUTH_CONFIGURATION when it is not
// configured any more.
func (i *Identities) configured(name string) (*oauth.Provider, error) {
	source, known := i.sources[name]
	if !known {
		return nil, fault.New(fault.OAuthConfiguration, "", "This provider is not available any more.")
	}
	return source.Provider, nil
}

// back is where a flow leads: redirectURL is what the provider is told, redirectTo where the browser ends
// up when the answer comes to us.
type back struct{ redirectURL, redirectTo string }

// back chooses by what the caller asked for; "" is the default. Fault: OAUTH_REDIRECT_REFUSED.
func (s Source) back(asked string) (back, error) {
	if asked == "" && len(s.RedirectTo) > 0 {
		asked = s.RedirectTo[0]
	}
	if asked == "" {
		asked = s.Pages[0]
	}
	switch {
	case slices.Contains(s.RedirectTo, asked):
		return back{s.Callback, asked}, nil
	case slices.Contains(s.Pages, asked):
		return back{asked, ""}, nil
	}
	return back{}, fault.New(fault.OAuthRedirectRefused, "redirectTo", "This address is not on the list of those that a sign-in may lead to.")
}

// CheckRedirectTo says what is wrong with an address that a browser may be sent to: it is https, http
// on loopback, or of an app's own scheme (RFC 8252 §7.1), whose name has a dot.
func CheckRedirectTo(address string) error {
	u, err := url.Parse(address)
	const wanted = "write a whole address such as https://app.example.com/signed-in"
	switch {
	case err != nil || len(address) > 2048 || u.Opaque != "" || u.User != nil || u.Fragment != "" || strings.Contains(address, "*"):
		return errors.New(wanted + ", without user, # and wildcard")
	case u.Scheme == "https" && u.Host != "":
		return nil
	case u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"):
		return nil
	case strings.Contains(u.Scheme, "."):
		return nil
	}
	return errors.New(wanted + "; http:// is for loopback only")
}

// refuse records why a flow ended without what it was begun for, logs it, and returns it. Errors that
// nobody can mend go up as they are.
func (i *Identities) refuse(ctx context.Context, p pending, client Client, why error) error {
	why = spoken(why)
	f, ok := fault.As(why)
	if !ok || !f.Mendable() {
		return why
	}
	i.o.Log.WarnContext(ctx, "oauth: sign-in refused", "flow", p.id(), "provider", p.Flow.Provider, "reason", f.Code, "link", p.links())
	action := audit.LoginRefused
	if p.links() {
		action = audit.IdentityRefused
	}
	err := i.logins.audit.Record(ctx, audit.Event{
		Action: action, Outcome: audit.Refused, By: viewer.Viewer{User: p.Link}, Subject: p.Link, Network: session.Network(client.IP),
		Details: map[string]string{"method": byProvider.method, "provider": p.Flow.Provider, "flow": p.id(), "reason": string(f.Code)},
	})
	if err != nil {
		return fmt.Errorf("refuse sign-in: %w", err)
	}
	return f
}

// now is the clock to the microsecond, as moments are stored.
func (i *Identities) now() time.Time { return i.o.Now().UTC().Truncate(time.Microsecond) }

// Unlink takes an identity from the account of by, and makes the provider forget its tokens, as far as it
// answers. Faults: UNAUTHENTICATED, STEP_UP_REQUIRED, NOT_FOUND, LAST_WAY_IN.
func (i *Identities) Unlink(ctx context.Context, by viewer.Viewer, id account.IdentityID) error {
	if err := i.fresh(by); err != nil {
		return err
	}
	identity, err := i.logins.accounts.Identity(ctx, by, id)
	if err != nil {
		return err
	}
	tokens, err := i.kept(ctx, identity)
	if err != nil {
		return err
	}
	if err := i.logins.accounts.Unlink(ctx, by, id, i.Title(identity.Provider)); err != nil {
		return err
	}
	i.forget(ctx, identity, tokens)
	return nil
}

// revokePatience bounds how long a person waits for a provider to forget its tokens.
const revokePatience = 3 * time.Second

// forget is a courtesy: the provider's own page can do the same, and the room has logged a failure.
func (i *Identities) forget(ctx context.Context, identity account.Identity, tokens keptTokens) {
	provider, err := i.configured(identity.Provider)
	if err != nil || tokens.Access == "" || tokens.Issuer != provider.Issuer() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokePatience)
	defer cancel()
	_ = provider.Revoke(ctx, tokens.Tokens)
}

// linkAge is how long ago a person may have signed in who changes the ways into their account.
const linkAge = 15 * time.Minute

// fresh wants a person who has signed in lately: an open session that somebody finds is not to become
// a way in of theirs. Faults: UNAUTHENTICATED, STEP_UP_REQUIRED.
func (i *Identities) fresh(by viewer.Viewer) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	if i.now().Sub(by.AuthTime) > linkAge {
		return fault.New(fault.StepUpRequired, "", "Sign in again to change the ways into your account.")
	}
	return nil
}

// raced reports whether a transaction lost against another that linked the same identity or took the
// same address: then it runs again and finds what is there now.
func raced(err error) bool { return store.Conflict(err) || fault.Is(err, fault.Taken) }
