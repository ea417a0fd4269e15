package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login/oauth"
)

// ExchangeLifetime is how long a page has to redeem its code.
const ExchangeLifetime = time.Minute

// binding is what a flow is bound to: S256 of a secret (RFC 7636 §4.2) that the browser keeps as a
// cookie, or the caller as a verifier.
type binding struct {
	Challenge string `json:"challenge"` // 43 characters
	ByCookie  bool   `json:"byCookie"`
}

// Proof is what a caller shows of the binding; either part may be "".
type Proof struct {
	Cookie   string // of the browser, in cookie mode
	Verifier string // of the caller
}

var (
	challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	verifierForm  = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`) // RFC 7636 §4.1
)

func challengeOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// check holds proof against b. Fault: OAUTH_BINDING_MISMATCH.
func (b binding) check(proof Proof) error {
	secret := proof.Verifier
	if b.ByCookie {
		secret = proof.Cookie
	}
	if !verifierForm.MatchString(secret) || subtle.ConstantTimeCompare([]byte(challengeOf(secret)), []byte(b.Challenge)) != 1 {
		return fault.New(fault.OAuthBindingMismatch, "", "This sign-in was begun elsewhere. Start it again here.")
	}
	return nil
}

// NewBrowserSecret draws what the cookie of a browser holds: 256 bits, 43 characters.
func NewBrowserSecret() string { return randomText() }

// BrowserSecret reports whether text can be what NewBrowserSecret drew.
func BrowserSecret(text string) bool { return challengeForm.MatchString(text) }

// randomText returns 256 fresh bits in base64url.
func randomText() string {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

// pending is a flow that waits for the provider's answer; it is kept sealed.
type pending struct {
	Flow       oauth.Flow       `json:"flow"`
	Binding    binding          `json:"binding"`
	RedirectTo string           `json:"redirectTo"` // "": the answer comes to a page
	Link       viewer.UserID    `json:"link"`       // whose account gets the identity; "": a sign-in
	Session    viewer.SessionID `json:"session"`    // that asked for the link
}

func (p pending) id() string  { return p.Flow.ID() }
func (p pending) links() bool { return p.Link != "" }

// arrived is a flow whose person has come back, and waits for the page; it is kept sealed.
type arrived struct {
	pending
	Result    oauth.Result `json:"result"`
	ExpiresAt time.Time    `json:"expiresAt"`
}

// keepFlow stores p under its state's hash, and sweeps out some that have expired.
func (i *Identities) keepFlow(ctx context.Context, p pending) error {
	sealed, err := i.seal(p, flowPlace(p.Flow.StateHash))
	if err != nil {
		return err
	}
	return i.logins.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, sweepFlows, store.At(i.now())); err != nil {
			return fmt.Errorf("sweep flows: %w", err)
		}
		_, err := tx.Exec(ctx, insertFlow, p.Flow.StateHash, sealed, store.At(p.Flow.CreatedAt.Add(oauth.FlowLifetime)))
		if err != nil {
			return fmt.Errorf("keep flow: %w", err)
		}
		return nil
	})
}

// takeFlow returns the flow of state and takes it out, so that it serves once, unless check refuses it:
// who cannot show the proof cannot use the flow up either. Fault: OAUTH_STATE_MISMATCH, and check's.
func (i *Identities) takeFlow(ctx context.Context, state string, check func(pending) error) (pending, error) {
	hash := oauth.HashState(state)
	var p pending
	err := i.take(ctx, selectFlow, takeFlow, hash, flowPlace(hash), &p, func() error { return check(p) })
	if errors.Is(err, store.ErrNotFound) {
		p = pending{Flow: oauth.Flow{StateHash: hash}} // so that the log can tell which one was used before
		return p, fault.New(fault.OAuthStateMismatch, "", "This sign-in is not known, or it was used before. Start it again.")
	}
	return p, err
}

// keepArrived stores a for a minute and returns the code that it is redeemed with.
func (i *Identities) keepArrived(ctx context.Context, a arrived) (string, error) {
	code := "ghx_" + randomText()
	hash := challengeOf(code)
	a.ExpiresAt = i.now().Add(ExchangeLifetime)
	sealed, err := i.seal(a, exchangePlace(hash))
	if err != nil {
		return "", err
	}
	return code, i.logins.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, sweepExchanges, store.At(i.now())); err != nil {
			return fmt.Errorf("sweep exchange codes: %w", err)
		}
		if _, err := tx.Exec(ctx, insertExchange, hash, sealed, store.At(a.ExpiresAt)); err != nil {
			return fmt.Errorf("keep exchange code: %w", err)
		}
		return nil
	})
}

// takeArrived is takeFlow for an exchange code. Faults: OAUTH_EXCHANGE_INVALID, OAUTH_BINDING_MISMATCH,
// OAUTH_EXPIRED.
func (i *Identities) takeArrived(ctx context.Context, code string, proof Proof) (arrived, error) {
	hash := challengeOf(code)
	var a arrived
	err := i.take(ctx, selectExchange, takeExchange, hash, exchangePlace(hash), &a, func() error { return a.Binding.check(proof) })
	switch {
	case errors.Is(err, store.ErrNotFound):
		return a, fault.New(fault.OAuthExchangeInvalid, "exchangeCode", "This code is not known, or it was used before. Start the sign-in again.")
	case err != nil:
		return a, err
	case i.now().After(a.ExpiresAt):
		return a, fault.New(fault.OAuthExpired, "exchangeCode", "This code is older than a minute. Start the sign-in again.")
	}
	return a, nil
}

// take reads one sealed row into what into points to, and deletes it once check allows. Of two who come
// at once one finds nothing to delete: [store.ErrNotFound], as for a row whose key is no longer held.
func (i *Identities) take(ctx context.Context, read, remove *store.Query, key string, place []byte, into any, check func() error) error {
	return i.logins.db.Update(ctx, func(tx *store.Tx) error {
		sealed, err := store.One(ctx, tx, read, store.Value[[]byte], key)
		if err != nil {
			return err
		}
		plain, err := i.ring.Open(sealed, place)
		if errors.Is(err, secret.ErrUnknownKey) {
			return store.ErrNotFound
		}
		if err == nil {
			err = json.Unmarshal(plain, into)
		}
		if err != nil {
			return fmt.Errorf("open flow: %w", err)
		}
		if err := check(); err != nil {
			return err
		}
		removed, err := tx.Exec(ctx, remove, key)
		if err == nil && removed == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}

func (i *Identities) seal(v any, place []byte) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("seal flow: %w", err)
	}
	return i.ring.Seal(plain, place)
}

func flowPlace(hash string) []byte     { return []byte("oauth_flows/" + hash + "/sealed") }
func exchangePlace(hash string) []byte { return []byte("oauth_exchanges/" + hash + "/sealed") }
