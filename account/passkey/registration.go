package passkey

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// User is who registers a passkey (§5.4.3).
type User struct {
	// Handle is 1 to 64 bytes that name the account to authenticators and tell nothing about the
	// person: random, or derived from the account's id, never the e-mail address (§14.6.1). It stays
	// the same for all passkeys of an account.
	Handle []byte
	// Name is what the person picks the account by, such as the e-mail address.
	Name string
	// DisplayName is the person's name; it may be empty.
	DisplayName string
}

// BeginRegistration returns the options for navigator.credentials.create (§5.4) and the state for
// FinishRegistration. The passkeys that exist keep the same authenticator from registering twice. Its
// one expected error is ErrFull; a handle out of bounds is another.
func (rp *RelyingParty) BeginRegistration(
	user User, existing []Credential, v Verification, now time.Time,
) (options json.RawMessage, state State, err error) {
	if len(existing) >= MaxCredentials {
		return nil, State{}, ErrFull
	}
	creation, session, err := rp.library.BeginRegistration(owner{user: user}, func(o *protocol.PublicKeyCredentialCreationOptions) error {
		o.Parameters = webauthn.CredentialParametersRecommendedL3()
		o.CredentialExcludeList = descriptors(existing)
		o.AuthenticatorSelection = protocol.AuthenticatorSelection{
			RequireResidentKey: protocol.ResidentKeyNotRequired(),
			ResidentKey:        protocol.ResidentKeyRequirementPreferred,
			UserVerification:   v.requirement(),
		}
		return nil
	})
	if err != nil {
		return nil, State{}, fmt.Errorf("begin passkey registration: %w", err)
	}
	if state, err = newState(Registration, session, v, now); err != nil {
		return nil, State{}, fmt.Errorf("begin passkey registration: %w", err)
	}
	state.UserHandle = user.Handle
	options, err = json.Marshal(creation.Response)
	return options, state, err
}

// FinishRegistration returns the passkey that response brings (§7.1), for the user of state. Its errors
// are ErrExpired, ErrMalformed, ErrChallenge, ErrOrigin and ErrUnverified. The caller refuses one whose
// ID its store already holds (step 26).
func (rp *RelyingParty) FinishRegistration(state State, response []byte, now time.Time) (Credential, error) {
	if err := state.check(now, Registration); err != nil {
		return Credential{}, err
	}
	parsed, err := parseRegistration(response)
	if err != nil {
		return Credential{}, err
	}
	authenticator := parsed.Response.AttestationObject.AuthData
	if err := rp.checkClientData(state, protocol.CreateCeremony, parsed.Response.CollectedClientData); err != nil {
		return Credential{}, err
	}
	if err := rp.checkAuthenticatorData(state, authenticator); err != nil {
		return Credential{}, err
	}
	if err := checkKey(authenticator.AttData.CredentialPublicKey); err != nil {
		return Credential{}, err
	}
	dropAttestation(parsed)
	user := owner{user: User{Handle: state.UserHandle}}
	verified, err := rp.library.CreateCredential(user, state.session(rp, state.UserHandle), parsed)
	if err != nil {
		return Credential{}, plain(err)
	}
	return newCredential(verified, state.UserHandle, now)
}

// parseRegistration reads a RegistrationResponseJSON (§5.1).
func parseRegistration(response []byte) (*protocol.ParsedCredentialCreationData, error) {
	if len(response) > MaxResponseBytes {
		return nil, ErrMalformed
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return nil, plain(err)
	}
	return parsed, nil
}

// dropAttestation makes of any attestation statement the one that says nothing (§8.7). We ask for none
// and decide nothing by it, so verifying it (§7.1 steps 21 to 24) could only turn a passkey away whose
// maker's certificate is odd, and would open parsers of X.509, TPM and JWT to whoever registers.
func dropAttestation(parsed *protocol.ParsedCredentialCreationData) {
	object := &parsed.Response.AttestationObject
	object.Format, object.AttStatement, object.SubStatements = string(protocol.AttestationFormatNone), nil, nil
}
