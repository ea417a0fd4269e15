package passkey

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// BeginLogin returns the options for navigator.credentials.get (§5.5) with one of an account's
// credentials, and the state for FinishLogin: for a person who is known already, since the options show
// which passkeys the account has. Its one expected error is ErrUnknownCredential, for no credentials.
func (rp *RelyingParty) BeginLogin(
	credentials []Credential, v Verification, now time.Time,
) (options json.RawMessage, state State, err error) {
	if len(credentials) == 0 {
		return nil, State{}, ErrUnknownCredential
	}
	return rp.beginLogin(Login, credentials, v, now)
}

// BeginDiscoverableLogin is BeginLogin with whatever passkey the person picks: for one who has not said
// who they are.
func (rp *RelyingParty) BeginDiscoverableLogin(v Verification, now time.Time) (options json.RawMessage, state State, err error) {
	return rp.beginLogin(DiscoverableLogin, nil, v, now)
}

func (rp *RelyingParty) beginLogin(
	kind Kind, credentials []Credential, v Verification, now time.Time,
) (options json.RawMessage, state State, err error) {
	assertion, session, err := rp.library.BeginDiscoverableLogin(
		webauthn.WithAllowedCredentials(descriptors(credentials)), webauthn.WithUserVerification(v.requirement()))
	if err != nil {
		return nil, State{}, fmt.Errorf("begin passkey login: %w", err)
	}
	if state, err = newState(kind, session, v, now); err != nil {
		return nil, State{}, fmt.Errorf("begin passkey login: %w", err)
	}
	state.Allowed = session.AllowedCredentialIDs
	options, err = json.Marshal(assertion.Response)
	return options, state, err
}

// Entry is a login that succeeded.
type Entry struct {
	// Credential is the passkey as it is to be stored now: its counter and BackedUp have moved.
	Credential Credential
	// UserVerified tells whether this login verified the user, which makes it two factors in one.
	UserVerified bool
}

// FinishLogin returns the entry of the passkey that signed response (§7.2). lookup finds the credential
// in the store; for a user handle that is not empty it must be that user's, and its error for one that
// is not there is ErrUnknownCredential. lookup runs before the signature is checked: it must only read.
//
// Errors are those of lookup and ErrExpired, ErrMalformed, ErrChallenge, ErrOrigin,
// ErrUnknownCredential, ErrSignature, ErrUnverified and ErrCloned. With ErrCloned comes the entry, its
// counter as it was, so that the caller can tell the owner; it lets nobody in.
func (rp *RelyingParty) FinishLogin(
	state State, response []byte, lookup func(userHandle, credentialID []byte) (Credential, error), now time.Time,
) (Entry, error) {
	if err := state.check(now, Login, DiscoverableLogin); err != nil {
		return Entry{}, err
	}
	parsed, err := parseLogin(response)
	if err != nil {
		return Entry{}, err
	}
	if err := rp.checkLogin(state, parsed); err != nil {
		return Entry{}, err
	}
	credential, err := lookup(parsed.Response.UserHandle, parsed.RawID)
	if err != nil {
		return Entry{}, fmt.Errorf("look up passkey: %w", err)
	}
	if !credential.isNamedBy(parsed) {
		return Entry{}, ErrUnknownCredential
	}
	user := owner{user: User{Handle: credential.UserHandle}, credentials: []webauthn.Credential{credential.library()}}
	verified, err := rp.library.ValidateLogin(user, state.session(rp, credential.UserHandle), parsed)
	if err != nil {
		return Entry{}, plain(err)
	}
	credential.SignCount = verified.Authenticator.SignCount
	credential.BackedUp = verified.Flags.BackupState
	entry := Entry{Credential: credential, UserVerified: parsed.Response.AuthenticatorData.Flags.HasUserVerified()}
	if verified.Authenticator.CloneWarning {
		return entry, ErrCloned
	}
	return entry, nil
}

// checkLogin holds a response against its state, before anything is looked up.
func (rp *RelyingParty) checkLogin(state State, parsed *protocol.ParsedCredentialAssertionData) error {
	if err := rp.checkClientData(state, protocol.AssertCeremony, parsed.Response.CollectedClientData); err != nil {
		return err
	}
	if err := rp.checkAuthenticatorData(state, parsed.Response.AuthenticatorData); err != nil {
		return err
	}
	if state.Kind == DiscoverableLogin {
		if len(parsed.Response.UserHandle) == 0 { // §7.2 step 6: who is it then?
			return ErrMalformed
		}
		return nil
	}
	if !slices.ContainsFunc(state.Allowed, func(id []byte) bool { return bytes.Equal(id, parsed.RawID) }) {
		return ErrUnknownCredential
	}
	return nil
}

// isNamedBy reports whether the response is about the credential and, where it says so, its owner
// (§7.2 step 6).
func (c Credential) isNamedBy(parsed *protocol.ParsedCredentialAssertionData) bool {
	handle := parsed.Response.UserHandle
	return bytes.Equal(c.ID, parsed.RawID) && (len(handle) == 0 || bytes.Equal(handle, c.UserHandle))
}

// parseLogin reads an AuthenticationResponseJSON (§5.1).
func parseLogin(response []byte) (*protocol.ParsedCredentialAssertionData, error) {
	if len(response) > MaxResponseBytes {
		return nil, ErrMalformed
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, plain(err)
	}
	return parsed, nil
}
