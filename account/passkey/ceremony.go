package passkey

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// State is what the caller keeps between the halves of a ceremony, as JSON where the browser cannot
// change it, and hands back once.
type State struct {
	Kind         Kind         `json:"kind"`
	Challenge    []byte       `json:"challenge"`            // 32 random bytes
	UserHandle   []byte       `json:"userHandle,omitempty"` // registration: whose passkey it becomes
	Allowed      [][]byte     `json:"allowed,omitempty"`    // login: ids of credentials; none: any that is discovered
	Verification Verification `json:"verification"`
	Expires      time.Time    `json:"expires"`
}

// Kind is which ceremony a State belongs to.
type Kind string

const (
	Registration      Kind = "registration"
	Login             Kind = "login"             // with one of Allowed
	DiscoverableLogin Kind = "discoverableLogin" // with whatever passkey the person picks
)

// newState keeps of the library's session what the second half needs. The library reads a clock of
// its own for the expiry, so that is ours.
func newState(kind Kind, session *webauthn.SessionData, v Verification, now time.Time) (State, error) {
	challenge, err := base64.RawURLEncoding.DecodeString(session.Challenge)
	if err != nil {
		return State{}, fmt.Errorf("read challenge: %w", err)
	}
	return State{Kind: kind, Challenge: challenge, Verification: v, Expires: now.Add(Lifetime)}, nil
}

// session gives the library its session back, for the user whose passkey it is about.
func (s State) session(rp *RelyingParty, userHandle []byte) webauthn.SessionData {
	return webauthn.SessionData{
		Challenge:        base64.RawURLEncoding.EncodeToString(s.Challenge),
		RelyingPartyID:   rp.id,
		UserID:           userHandle,
		UserVerification: s.Verification.requirement(),
		CredParams:       webauthn.CredentialParametersRecommendedL3(),
	}
}

// check refuses a state that is too old or of another kind.
func (s State) check(now time.Time, kinds ...Kind) error {
	switch {
	case !slices.Contains(kinds, s.Kind):
		return ErrChallenge
	case !now.Before(s.Expires):
		return ErrExpired
	}
	return nil
}

// checkClientData holds what the browser says of the ceremony against the state (§7.1 steps 7 to 11,
// §7.2 steps 10 to 14). The library does so too, but does not say in a stable way what was wrong, and
// is more generous about the spelling of origins.
func (rp *RelyingParty) checkClientData(s State, ceremony protocol.CeremonyType, data protocol.CollectedClientData) error {
	challenge := base64.RawURLEncoding.EncodeToString(s.Challenge)
	switch {
	case data.Type != ceremony, subtle.ConstantTimeCompare([]byte(data.Challenge), []byte(challenge)) != 1:
		return ErrChallenge
	case !slices.Contains(rp.origins, data.Origin), data.CrossOrigin:
		return ErrOrigin
	}
	return nil
}

// checkAuthenticatorData holds what the authenticator says against the state (§7.1 steps 14 to 16,
// §7.2 steps 15 to 17); see checkClientData.
func (rp *RelyingParty) checkAuthenticatorData(s State, data protocol.AuthenticatorData) error {
	hash := sha256.Sum256([]byte(rp.id))
	switch {
	case !bytes.Equal(data.RPIDHash, hash[:]):
		return ErrOrigin
	case s.Verification == Required && !data.Flags.HasUserVerified():
		return ErrUnverified
	}
	return nil
}

// plain turns an error of the library into one of ours, the library's being its cause.
func plain(err error) error {
	var theirs *protocol.Error
	if errors.As(err, &theirs) && theirs.Type == protocol.ErrAssertionSignature.Type {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// requirement is v in the words of the standard.
func (v Verification) requirement() protocol.UserVerificationRequirement {
	if v == Required {
		return protocol.VerificationRequired
	}
	return protocol.VerificationPreferred
}
