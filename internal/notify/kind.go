package notify

import (
	"maps"
	"slices"
)

// Medium is the way a message takes.
type Medium string

// The media.
const (
	ByMail Medium = "mail"
	BySMS  Medium = "SMS"
)

// Kind says what a message is about. Its text also names the message's blocks in words/.
type Kind string

// The kinds. What each needs of a [Message] is checked by [Message.Validate].
const (
	VerifyEmail        Kind = "verifyEmail"        // confirm the address of a new account: Link, Code, Minutes
	EmailChangeConfirm Kind = "emailChangeConfirm" // to the new address: Link, Code, Minutes
	EmailChanged       Kind = "emailChanged"       // to the old address: Link (undo), Minutes
	AlreadyRegistered  Kind = "alreadyRegistered"  // somebody tried to register this address: Link (reset the password)

	PasswordReset   Kind = "passwordReset"   // Link, Minutes
	PasswordChanged Kind = "passwordChanged" // Link (this was not me)
	LoginCode       Kind = "loginCode"       // Code, Link, Minutes
	MfaCode         Kind = "mfaCode"         // by mail or SMS: Code, Minutes
	PhoneConfirm    Kind = "phoneConfirm"    // by SMS: Code, Minutes

	// What touches the safety of an account has a Link that says "this was not me".
	NewDevice        Kind = "newDevice"        // Device, At, Link
	SessionSuspended Kind = "sessionSuspended" // another device or browser used the session: At, Link
	TokenReused      Kind = "tokenReused"      // a refresh token came twice, the session was ended: At, Link

	FactorAdded              Kind = "factorAdded"              // Factor, At, Link
	FactorRemoved            Kind = "factorRemoved"            // Factor, At, Link
	RecoveryCodesRegenerated Kind = "recoveryCodesRegenerated" // At, Link
	RecoveryCodeUsed         Kind = "recoveryCodeUsed"         // Left, At, Link
	IdentityLinked           Kind = "identityLinked"           // Provider, At, Link
	IdentityUnlinked         Kind = "identityUnlinked"         // Provider, At, Link
	APIKeyCreated            Kind = "apiKeyCreated"            // Machine, At, Link
	ServiceSecretCreated     Kind = "serviceSecretCreated"     // of a new service account, or in place of its last one: Machine, At, Link

	AccountDeletionScheduled Kind = "accountDeletionScheduled" // Due, Link (keep the account)
	AccountDeletionCancelled Kind = "accountDeletionCancelled" // At
	DataExportReady          Kind = "dataExportReady"          // Link, Minutes
	AccountLocked            Kind = "accountLocked"            // may have Reason
	AccountDisabled          Kind = "accountDisabled"          // may have Reason
	Impersonated             Kind = "impersonated"             // Reason, At; may have By
)

// Kinds returns all kinds, by name.
func Kinds() []Kind { return slices.Sorted(maps.Keys(shapes)) }

// fields is a set of a message's fields.
type fields uint16

const (
	hasLink fields = 1 << iota
	hasCode
	hasMinutes
	hasAt
	hasDue
	hasDevice
	hasNetwork
	hasFactor
	hasProvider
	hasBy
	hasReason
	hasMachine
)

// shape is what a kind is made of. At, Device and Network may stand in any mail.
type shape struct {
	needs fields
	may   fields
	media []Medium
}

// shapes has the shape of every kind. Left is not a field here: none is a number, too.
var shapes = map[Kind]shape{
	VerifyEmail:        letter(hasLink|hasCode|hasMinutes, 0),
	EmailChangeConfirm: letter(hasLink|hasCode|hasMinutes, 0),
	EmailChanged:       letter(hasLink|hasMinutes, 0),
	AlreadyRegistered:  letter(hasLink, 0),

	PasswordReset:   letter(hasLink|hasMinutes, 0),
	PasswordChanged: letter(hasLink, 0),
	LoginCode:       letter(hasLink|hasCode|hasMinutes, 0),
	MfaCode:         {needs: hasCode | hasMinutes, media: []Medium{ByMail, BySMS}},
	PhoneConfirm:    {needs: hasCode | hasMinutes, media: []Medium{BySMS}},

	NewDevice:        letter(hasDevice|hasAt|hasLink, 0),
	SessionSuspended: letter(hasAt|hasLink, 0),
	TokenReused:      letter(hasAt|hasLink, 0),

	FactorAdded:              letter(hasFactor|hasAt|hasLink, 0),
	FactorRemoved:            letter(hasFactor|hasAt|hasLink, 0),
	RecoveryCodesRegenerated: letter(hasAt|hasLink, 0),
	RecoveryCodeUsed:         letter(hasAt|hasLink, 0),
	IdentityLinked:           letter(hasProvider|hasAt|hasLink, 0),
	IdentityUnlinked:         letter(hasProvider|hasAt|hasLink, 0),
	APIKeyCreated:            letter(hasMachine|hasAt|hasLink, 0),
	ServiceSecretCreated:     letter(hasMachine|hasAt|hasLink, 0),

	AccountDeletionScheduled: letter(hasDue|hasLink, 0),
	AccountDeletionCancelled: letter(hasAt, 0),
	DataExportReady:          letter(hasLink|hasMinutes, 0),
	AccountLocked:            letter(0, hasReason),
	AccountDisabled:          letter(0, hasReason),
	Impersonated:             letter(hasReason|hasAt, hasBy),
}

func letter(needs, may fields) shape { return shape{needs: needs, may: may, media: []Medium{ByMail}} }

// takes reports whether the kind has a place for all fields of f.
func (s shape) takes(f fields) bool { return f&^(s.needs|s.may) == 0 }
