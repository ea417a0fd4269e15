// Package passkey registers passkeys and signs people in with them: the relying party's side of Web
// Authentication Level 3. It is pure: no store, no HTTP, the clock passed in.
//
// # Use
//
// A ceremony has two halves. [RelyingParty.BeginRegistration], [RelyingParty.BeginLogin] and
// [RelyingParty.BeginDiscoverableLogin] return options for the browser, in the JSON form that
// PublicKeyCredential.parseCreationOptionsFromJSON and parseRequestOptionsFromJSON read, and a [State]
// for the store. [RelyingParty.FinishRegistration] and [RelyingParty.FinishLogin] take the state and
// what the browser's credential.toJSON() gave, and return the [Credential] to keep. The caller takes the
// state out of its store before it finishes, so that a response is good once, and writes the credential
// back after every login, since its counter has moved.
//
// # Choices
//
// Keys are Ed25519, ES256 or RS256. A passkey that the authenticator can find by itself is preferred, so
// that it serves as first factor too; attestation is neither asked for nor looked at, since every make
// is welcome. User verification is what the caller says: it is what makes a passkey alone two factors.
// A credential whose counter does not grow is refused as cloned (§6.1.1); counters that stay zero, as
// those of synchronised passkeys, are not.
//
// # Bounds
//
// A ceremony lasts 5 minutes, a response has at most 64 KiB, an account at most 20 passkeys, an RSA key
// 2048 to 8192 bits.
package passkey

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

const (
	// Lifetime is how long a ceremony may take.
	Lifetime = 5 * time.Minute
	// MaxResponseBytes bounds what the browser sends.
	MaxResponseBytes = 64 << 10
	// MaxCredentials is how many passkeys an account has at most.
	MaxCredentials = 20

	maxOrigins = 16
)

// The errors of a ceremony, to be told apart by errors.Is. What the library says of the cause is wrapped
// for the log.
var (
	// ErrExpired is a response more than Lifetime after its ceremony began.
	ErrExpired = errors.New("passkey ceremony has expired")
	// ErrMalformed is a response that is none, is longer than MaxResponseBytes or breaks the standard.
	ErrMalformed = errors.New("passkey response is malformed")
	// ErrChallenge is a response to another challenge, or to the other kind of ceremony.
	ErrChallenge = errors.New("passkey response answers another challenge")
	// ErrOrigin is a response made on another site, or for another relying party.
	ErrOrigin = errors.New("passkey response comes from another site")
	// ErrUnknownCredential is a passkey that the account does not have.
	ErrUnknownCredential = errors.New("passkey is not known")
	// ErrSignature is a response that the passkey did not sign.
	ErrSignature = errors.New("passkey signature is wrong")
	// ErrUnverified is a response without the user verification that the ceremony requires.
	ErrUnverified = errors.New("passkey did not verify its user")
	// ErrCloned is a passkey whose counter did not grow: there may be a second copy of its key.
	ErrCloned = errors.New("passkey may have been cloned")
	// ErrFull is an account that has MaxCredentials passkeys.
	ErrFull = errors.New("account has as many passkeys as it may")
)

// Verification is whether the authenticator must know its user, by PIN or biometry, or only that
// somebody is there (§5.8.6).
type Verification string

const (
	Preferred Verification = "preferred" // verified if the authenticator can; the zero value means the same
	Required  Verification = "required"  // else ErrUnverified
)

// Options name the relying party (§4). All are required.
type Options struct {
	// ID is the domain that passkeys belong to, such as "example.com". Changing it makes every passkey
	// useless. "localhost" serves development; an IP address cannot be one.
	ID string
	// Origins are the pages that may use them, such as "https://login.example.com": at most 16, of ID
	// or below it, written as browsers write an origin. Plain HTTP is for localhost alone.
	Origins []string
	// Name is what the browser shows the person, such as "Gatehouse".
	Name string
}

// RelyingParty runs ceremonies. It keeps nothing of them and is safe for concurrent use.
type RelyingParty struct {
	id      string
	origins []string
	library *webauthn.WebAuthn
}

// New returns a RelyingParty, or an error that names the option to mend.
func New(o Options) (*RelyingParty, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("passkey options: %w", err)
	}
	timeout := webauthn.TimeoutConfig{Timeout: Lifetime, TimeoutUVD: Lifetime}
	library, err := webauthn.New(&webauthn.Config{
		RPID: o.ID, RPDisplayName: o.Name, RPOrigins: slices.Clone(o.Origins),
		AttestationPreference: protocol.PreferNoAttestation,
		Timeouts:              webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// Password managers report extensions that nobody asked for; we read none of them.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("passkey options: %w", err)
	}
	return &RelyingParty{id: o.ID, origins: slices.Clone(o.Origins), library: library}, nil
}

// check names what is wrong with the options.
func (o Options) check() error {
	if err := protocol.ValidateRPID(o.ID); err != nil {
		return fmt.Errorf("ID %q: %w", o.ID, err)
	}
	if o.ID != strings.ToLower(o.ID) {
		return fmt.Errorf("ID %q: write it in small letters", o.ID)
	}
	if strings.TrimSpace(o.Name) == "" {
		return errors.New("name is empty")
	}
	if len(o.Origins) == 0 || len(o.Origins) > maxOrigins {
		return fmt.Errorf("%d origins, want 1 to %d", len(o.Origins), maxOrigins)
	}
	for _, origin := range o.Origins {
		if err := o.checkOrigin(origin); err != nil {
			return fmt.Errorf("origin %q: %w", origin, err)
		}
	}
	return nil
}

// checkOrigin wants the one spelling in which browsers write an origin (RFC 6454 §6.2), since origins
// are compared byte by byte, and a host that may use the ID.
func (o Options) checkOrigin(origin string) error {
	parsed, err := url.Parse(origin)
	if err != nil {
		return errors.New("not a URL")
	}
	host := parsed.Hostname()
	switch {
	case host != o.ID && !strings.HasSuffix(host, "."+o.ID):
		return fmt.Errorf("not on %s", o.ID)
	case parsed.Scheme != "https" && (parsed.Scheme != "http" || host != "localhost" && !strings.HasSuffix(host, ".localhost")):
		return errors.New("neither https nor localhost")
	case parsed.Scheme == "https" && parsed.Port() == "443", parsed.Scheme == "http" && parsed.Port() == "80":
		return errors.New("browsers leave the usual port out")
	case origin != strings.ToLower(parsed.Scheme+"://"+parsed.Host):
		return errors.New("want scheme, host and port alone, in small letters")
	}
	return nil
}
