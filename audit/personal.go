package audit

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/internal/viewer"
)

// personal says of every action whether the person whose account it concerns sees it among their
// security events. What is none of theirs to see, or names no account, is false.
var personal = map[Action]bool{
	AccountRegistered: true,
	AccountDisabled:   true,
	AccountEnabled:    true,
	AdminCreated:      true,
	RolesChanged:      true,
	PasswordChanged:   true,
	LoginSucceeded:    true,
	LoginRefused:      false, // who guesses at an address must not be told apart from its owner
	DeviceNew:         true,
	SessionReused:     true,
	SessionRevoked:    true,
	SessionSuspended:  true,
	SessionLifted:     true,
	SessionMoved:      true,
	KeysRotated:       false,

	FactorAdded:              true,
	FactorRemoved:            true,
	FactorsReset:             true,
	RecoveryCodesRegenerated: true,
	RecoveryCodeUsed:         true,
	PasskeyCloned:            true,
	DeviceTrusted:            true,
	DeviceUntrusted:          true,
	LoginChallenged:          true,
	ChallengeRefused:         true,
	SteppedUp:                true,
	EmailVerified:            true,
	EmailChangeAsked:         true,
	EmailChanged:             true,
	EmailRestored:            true,
	PasswordReset:            true,
	AccountDisowned:          true,
	ProfileChanged:           true,
	ExportAsked:              true,
	DeletionScheduled:        true,
	DeletionCancelled:        true,
	AccountReclaimed:         true,
	IdentityLinked:           true,
	IdentityUnlinked:         true,
	IdentityRefused:          true,
	ProofSent:                false,
	ProofRefused:             false,
	AccountDeleted:           false,

	APIKeyCreated:         true,
	APIKeyRevoked:         true,
	ServiceAccountCreated: true,
	ServiceAccountRotated: true,
	WebhookRotated:        true,
	ServiceAccountDeleted: true,
	AccountUnlocked:       true,
	UserImpersonated:      true,
	ClientGranted:         false,
	ClientRefused:         false,
	ImpersonationBegun:    false,
	KeysReencrypted:       false,
	MailAsked:             false, // a program may send hundreds; who started them is in the audit
	AccountImported:       true,
	UsersImported:         false,
}

// Personal returns the actions that a person sees of their own account, sorted.
func Personal() []Action {
	var shown []Action
	for _, action := range slices.Sorted(maps.Keys(personal)) {
		if personal[action] {
			shown = append(shown, action)
		}
	}
	return shown
}

// personalList is Personal as SQL has it.
func personalList() string {
	var quoted []string
	for _, action := range Personal() {
		quoted = append(quoted, "'"+string(action)+"'")
	}
	return strings.Join(quoted, ", ")
}

// Actor is who stands behind an event, from the point of view of its subject.
type Actor string

// The actors.
const (
	Oneself       Actor = "SELF"
	Administrator Actor = "ADMINISTRATOR"
	Server        Actor = "SERVER"
)

// NodeID returns the id under which a client can fetch e again.
func (e Entry) NodeID() string { return e.ID }

// ActorKind says who did it, and of an administrator not which one.
func (e Entry) ActorKind() Actor {
	switch e.Actor {
	case string(e.Subject):
		return Oneself
	case system, nobody:
		return Server
	}
	return Administrator
}

// NetworkName returns the network that it came from, nil when it is not known.
func (e Entry) NetworkName() *string { return orNil(e.Network) }

// AgentName returns the browser and system, or the program, nil when it is not known.
func (e Entry) AgentName() *string { return orNil(e.Details["agent"]) }

// Method returns how the person signed in (RFC 8176), nil for other events.
func (e Entry) Method() *string { return orNil(e.Details["method"]) }

// Before returns the network that a session was in before it moved, nil for other events.
func (e Entry) Before() *string { return orNil(e.Details["from"]) }

// Reason returns why sessions ended or were suspended, nil for other events.
func (e Entry) Reason() *string { return orNil(e.Details["reason"]) }

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// topicOf is where it is told that an event of user was recorded.
func topicOf(user viewer.UserID) string { return "security:" + string(user) }
