package passkey

import (
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
)

// Credential is a registered passkey (§4, credential record). It holds no secret.
type Credential struct {
	ID             []byte    `json:"id"` // 16 to 1023 bytes, chosen by the authenticator; unique in the store
	UserHandle     []byte    `json:"userHandle"`
	PublicKey      []byte    `json:"publicKey"` // COSE_Key (RFC 9052 §7) in CBOR
	SignCount      uint32    `json:"signCount"` // of the last login; always 0 if the authenticator does not count
	Transports     []string  `json:"transports,omitempty"`
	AAGUID         uuid.UUID `json:"aaguid"`         // the make of the authenticator; zeros when it does not tell
	BackupEligible bool      `json:"backupEligible"` // it may be synchronised; never changes
	BackedUp       bool      `json:"backedUp"`       // it was, at the last login
	UserVerified   bool      `json:"userVerified"`   // at the registration
	CreatedAt      time.Time `json:"createdAt"`
}

const (
	minIDBytes = 16 // §4, credential id: at least 100 bits of entropy
	maxIDBytes = 1023

	// maxKeyBytes holds an RSA key of 8192 bits; verifying takes longer the longer the key is.
	maxKeyBytes    = 1100
	minModulusBits = 2048
)

// transports are those of §5.8.4; others are dropped, as they come from the browser unsigned.
var transports = [...]protocol.AuthenticatorTransport{
	protocol.USB, protocol.NFC, protocol.BLE, protocol.SmartCard, protocol.Hybrid, protocol.Internal,
}

// newCredential takes over what the library verified.
func newCredential(c *webauthn.Credential, userHandle []byte, now time.Time) (Credential, error) {
	aaguid, err := uuid.FromBytes(c.Authenticator.AAGUID)
	if err != nil || len(c.ID) < minIDBytes || len(c.ID) > maxIDBytes {
		return Credential{}, ErrMalformed
	}
	var known []string
	for _, transport := range transports {
		if slices.Contains(c.Transport, transport) {
			known = append(known, string(transport))
		}
	}
	return Credential{
		ID: c.ID, UserHandle: userHandle, PublicKey: c.PublicKey, SignCount: c.Authenticator.SignCount,
		Transports: known, AAGUID: aaguid, BackupEligible: c.Flags.BackupEligible, BackedUp: c.Flags.BackupState,
		UserVerified: c.Flags.UserVerified, CreatedAt: now,
	}, nil
}

// checkKey refuses a key that could not verify anything, or only slowly. An attestation would show the
// former, but there is none.
func checkKey(coseKey []byte) error {
	if len(coseKey) > maxKeyBytes {
		return ErrMalformed
	}
	key, err := webauthncose.ParsePublicKey(coseKey)
	if err != nil {
		return plain(err)
	}
	if rsa, isRSA := key.(webauthncose.RSAPublicKeyData); isRSA && 8*len(rsa.Modulus) < minModulusBits {
		return ErrMalformed
	}
	return nil
}

// library is the credential in the library's form.
func (c Credential) library() webauthn.Credential {
	return webauthn.Credential{
		ID: c.ID, PublicKey: c.PublicKey,
		Flags: webauthn.CredentialFlags{
			UserVerified: c.UserVerified, BackupEligible: c.BackupEligible, BackupState: c.BackedUp,
		},
		Authenticator: webauthn.Authenticator{AAGUID: c.AAGUID[:], SignCount: c.SignCount},
	}
}

// descriptors name credentials to the browser.
func descriptors(credentials []Credential) []protocol.CredentialDescriptor {
	all := make([]protocol.CredentialDescriptor, len(credentials))
	for i, credential := range credentials {
		all[i] = protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: credential.ID}
		for _, transport := range credential.Transports {
			all[i].Transport = append(all[i].Transport, protocol.AuthenticatorTransport(transport))
		}
	}
	return all
}

// owner is the one who takes part in a ceremony, in the library's form.
type owner struct {
	user        User
	credentials []webauthn.Credential
}

func (o owner) WebAuthnID() []byte                         { return o.user.Handle }
func (o owner) WebAuthnName() string                       { return o.user.Name }
func (o owner) WebAuthnDisplayName() string                { return o.user.DisplayName }
func (o owner) WebAuthnCredentials() []webauthn.Credential { return o.credentials }
