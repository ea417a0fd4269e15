package account

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gatehouse/account/passkey"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Standing is how an account stands to second factors.
type Standing struct {
	Enrolled bool     // it has a factor
	Enforced bool     // it must have one
	Methods  []Method // by which it can answer a challenge now
}

// Asked reports whether a first factor alone lets nobody in.
func (s Standing) Asked() bool { return s.Enrolled || s.Enforced && len(s.Methods) > 0 }

// EnforceMFA is who must have a second factor.
type EnforceMFA string

// The policies.
const (
	MFAOptional EnforceMFA = "OPTIONAL"
	MFAAdmins   EnforceMFA = "ADMINS"
	MFARequired EnforceMFA = "REQUIRED"
)

// MFA says who must have a second factor, and which ones there are. A method that is no longer offered
// cannot be enrolled any more; factors that exist stay good.
type MFA struct {
	Enforce EnforceMFA            // "": MFAOptional
	Methods []Method              // TOTP, Passkey, SMS, Email; nil: none can be enrolled
	Passkey *passkey.RelyingParty // nil: no passkeys
}

// Freshness is how long ago a person may have proved who they are to change how they prove it.
const Freshness = 10 * time.Minute

// StandingOf returns how user stands.
func (a *Accounts) StandingOf(ctx context.Context, r store.Reader, user User) (Standing, error) {
	kinds, err := store.All(ctx, r, selectKinds, store.Value[string], user.ID, user.ID)
	if err != nil {
		return Standing{}, fmt.Errorf("read factors of %s: %w", user.ID, err)
	}
	s := Standing{Enforced: a.Enforced(user)}
	for _, k := range []struct {
		kind   FactorKind
		method Method
		usable bool
	}{
		{TOTPFactor, TOTP, true},
		{PasskeyFactor, Passkey, a.o.MFA.Passkey != nil},
		{PhoneFactor, SMS, a.Reaches(notify.BySMS)},
	} {
		if !slices.Contains(kinds, string(k.kind)) {
			continue
		}
		s.Enrolled = true // usable or not: who has a factor is never let in without one
		if k.usable {
			s.Methods = append(s.Methods, k.method)
		}
	}
	if a.Offers(Email) && user.Verified && !s.Enrolled { // else the mailbox, which resets the password too, would do alone
		s.Methods = append(s.Methods, Email)
	}
	if s.Enrolled && slices.Contains(kinds, string(RecoveryCode)) {
		s.Methods = append(s.Methods, RecoveryCode)
	}
	return s, nil
}

// Enforced reports whether user must have a second factor.
func (a *Accounts) Enforced(user User) bool { return a.enforced(user.Roles) }

func (a *Accounts) enforced(roles []viewer.Role) bool {
	switch a.o.MFA.Enforce {
	case MFARequired:
		return true
	case MFAAdmins:
		return slices.Contains(roles, viewer.Admin)
	}
	return false
}

// Offers reports whether a method can be enrolled or, for Email, used.
func (a *Accounts) Offers(m Method) bool {
	switch {
	case !slices.Contains(a.o.MFA.Methods, m):
		return false
	case m == Passkey:
		return a.o.MFA.Passkey != nil
	case m == SMS:
		return a.Reaches(notify.BySMS)
	case m == Email:
		return a.Reaches(notify.ByMail)
	}
	return true
}

// Enrollable returns the methods that can be enrolled.
func (a *Accounts) Enrollable() []Method {
	return slices.DeleteFunc([]Method{TOTP, Passkey, SMS}, func(m Method) bool { return !a.Offers(m) })
}

// Assure returns nil for a caller who is signed in at level and has proved it at most maxAge ago; 0 sets
// no bound. Who has no second factor cannot reach AAL2: for them a first factor shown within
// [Freshness] stands in. Faults: UNAUTHENTICATED, STEP_UP_REQUIRED.
func (a *Accounts) Assure(ctx context.Context, by viewer.Viewer, level viewer.Level, maxAge time.Duration) error {
	if err := by.Person(); err != nil || by.System {
		return err // no step-up would help whoever is not the person
	}
	if by.Level < level {
		enrolled, err := a.HasFactor(ctx, by.User)
		if err != nil {
			return err
		}
		if enrolled {
			return stepUp("Confirm with a second factor to do this.")
		}
		if maxAge == 0 || maxAge > Freshness {
			maxAge = Freshness
		}
	}
	if maxAge > 0 && a.o.Now().Sub(by.AuthTime) > maxAge {
		return stepUp("Confirm that it is you to do this.")
	}
	return nil
}

// AssureFactor returns nil for a caller who has shown a second factor, and for one of whom none is asked:
// they have none and need not have one. Fault: STEP_UP_REQUIRED.
func (a *Accounts) AssureFactor(ctx context.Context, by viewer.Viewer) error {
	if by.System || by.Level >= viewer.AAL2 {
		return nil
	}
	enrolled, err := a.HasFactor(ctx, by.User)
	switch {
	case err != nil:
		return err
	case enrolled:
		return stepUp("Confirm with a second factor to do this.")
	case a.enforced(by.Roles):
		f := fault.New(fault.StepUpRequired, "", "Your account must have a second factor to do this.")
		f.Hint = "Enrol a factor, then call stepUp, answer its challenge with verifyMfa, and try again."
		return f
	}
	return nil
}

// HasFactor reports whether user has a second factor, usable or not. Recovery codes alone are none: they
// stand in for one, and nothing would ask for them.
func (a *Accounts) HasFactor(ctx context.Context, user viewer.UserID) (bool, error) {
	factors, err := store.One(ctx, a.db, countFactors, store.Value[int64], user)
	if err != nil {
		return false, fmt.Errorf("count factors of %s: %w", user, err)
	}
	return factors > 0, nil
}

func stepUp(message string) error {
	f := fault.New(fault.StepUpRequired, "", message)
	f.Hint = "Call stepUp, answer its challenge with verifyMfa, and try again."
	return f
}
