package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/account/passkey"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// FactorID names a second factor, "fac_…".
type FactorID string

// FactorKind is what a second factor is.
type FactorKind string

// The kinds. A confirmed address is a method without being a factor: see [Email].
const (
	TOTPFactor    FactorKind = "TOTP"
	PhoneFactor   FactorKind = "PHONE"
	PasskeyFactor FactorKind = "PASSKEY"
)

// Method is how a challenge is answered.
type Method string

// The methods.
const (
	TOTP         Method = "TOTP"
	Passkey      Method = "PASSKEY"
	SMS          Method = "SMS"
	Email        Method = "EMAIL"         // a code to the confirmed address
	RecoveryCode Method = "RECOVERY_CODE" // only beside a factor
	Password     Method = "PASSWORD"      // to step up without a factor, and after a passkey that did not verify its user
)

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

// Bounds of one account.
const (
	maxTOTP   = 3 // each makes a guess more likely to be right
	maxPhones = 3
)

// Freshness is how long ago a person may have proved who they are to change how they prove it.
const Freshness = 10 * time.Minute

// pendingLife is how long a factor waits to be confirmed.
const pendingLife = 15 * time.Minute

// enrolments limits how many factors an account may begin to enrol: ten at once, then one each ten minutes.
var enrolments = limit.Rule{Name: "enroll-factor", Limit: 6, Per: time.Hour, Burst: 10}

// Factor is a confirmed second factor, without its secret.
type Factor struct {
	ID         FactorID
	User       viewer.UserID
	Kind       FactorKind
	Name       string
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: not since it was confirmed
}

// RemoveFactor removes a factor of by, who has proved both factors within [Freshness]. With the last one
// go the recovery codes and the trusted devices. Faults: UNAUTHENTICATED, STEP_UP_REQUIRED, NOT_FOUND;
// WRONG_STATE for the last one of who must have one.
func (a *Accounts) RemoveFactor(ctx context.Context, by viewer.Viewer, id FactorID) error {
	if err := a.Assure(ctx, by, viewer.AAL2, Freshness); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		user, err := a.LockTx(ctx, tx, by.User)
		if err != nil {
			return err
		}
		rows, err := store.All(ctx, tx, selectFactors, scanFactor, by.User)
		if err != nil {
			return fmt.Errorf("remove factor: %w", err)
		}
		i := slices.IndexFunc(rows, func(r factorRow) bool { return r.ID == id })
		if i < 0 {
			return fault.Missing("factor")
		}
		if len(rows) == 1 {
			if a.Enforced(user) {
				return fault.New(fault.WrongState, "factorId", "Your account must keep a second factor. Add another one first.")
			}
			if err := a.dropFactorsTx(ctx, tx, by.User); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, deleteFactor, id); err != nil {
			return fmt.Errorf("remove factor: %w", err)
		}
		factor, err := a.openFactor(rows[i])
		if err != nil {
			return err
		}
		return a.tellFactorTx(ctx, tx, by, user, factor, audit.FactorRemoved, notify.FactorRemoved)
	})
}

// ResetFactors is ResetFactorsTx for an owner who has lost their factors; it ends their sessions too.
func (a *Accounts) ResetFactors(ctx context.Context, by viewer.Viewer, id viewer.UserID) error {
	return a.db.Update(ctx, func(tx *store.Tx) error {
		if err := a.ResetFactorsTx(ctx, tx, by, id); err != nil {
			return err
		}
		return a.sessions.RevokeAllTx(ctx, tx, by, id, session.RevokedByAdmin)
	})
}

// ResetFactorsTx takes all factors, recovery codes, trusted devices and open challenges from user; by is
// an administrator or the server. The caller has locked nothing and ends the sessions if it wants to.
// Faults: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.
func (a *Accounts) ResetFactorsTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, id viewer.UserID) error {
	if err := administers(by); err != nil {
		return err
	}
	user, err := a.LockTx(ctx, tx, id)
	if err != nil {
		return err
	}
	rows, err := store.All(ctx, tx, selectFactors, scanFactor, id)
	if err != nil {
		return fmt.Errorf("reset factors of %s: %w", id, err)
	}
	if err := a.dropFactorsTx(ctx, tx, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, bumpVersion, store.At(a.now()), id); err != nil { // ends open challenges
		return fmt.Errorf("reset factors of %s: %w", id, err)
	}
	if err := a.changedTx(ctx, tx, id); err != nil {
		return err
	}
	for _, r := range rows {
		factor, err := a.openFactor(r)
		if err != nil {
			return err
		}
		if err := a.PostTx(ctx, tx, a.messageTo(user, notify.Message{Kind: notify.FactorRemoved, Factor: factor.Name, At: a.now()})); err != nil {
			return err
		}
	}
	return a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.FactorsReset, By: by, Subject: id})
}

// dropFreshFactorsTx deletes what was added in the time in which an owner can say "this was not me", and
// takes the trust from all devices: whoever was in the account must not keep a key of their own.
func (a *Accounts) dropFreshFactorsTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	since := store.At(a.now().Add(-terms[ToDisown]))
	for _, q := range []*store.Query{deleteFreshFactors, deleteFreshRecoveryCodes} {
		if _, err := tx.Exec(ctx, q, user, since); err != nil {
			return fmt.Errorf("drop fresh factors of %s: %w", user, err)
		}
	}
	return a.ForgetDevicesTx(ctx, tx, user)
}

// dropFactorsTx deletes all by which user could answer a challenge, and what spares them one.
func (a *Accounts) dropFactorsTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	for _, q := range []*store.Query{deleteFactors, deleteRecoveryCodes, deleteTrusted} {
		if _, err := tx.Exec(ctx, q, user); err != nil {
			return fmt.Errorf("drop factors of %s: %w", user, err)
		}
	}
	return nil
}

// Standing is how an account stands to second factors.
type Standing struct {
	Enrolled bool     // it has a factor
	Enforced bool     // it must have one
	Methods  []Method // by which it can answer a challenge now
}

// Asked reports whether a first factor alone lets nobody in.
func (s Standing) Asked() bool { return s.Enrolled || s.Enforced && len(s.Methods) > 0 }

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
	if a.Offers(Email) && user.Verified {
		s.Methods = append(s.Methods, Email)
	}
	if s.Enrolled && slices.Contains(kinds, string(RecoveryCode)) {
		s.Methods = append(s.Methods, RecoveryCode)
	}
	return s, nil
}

// Enforced reports whether user must have a second factor.
func (a *Accounts) Enforced(user User) bool {
	switch a.o.MFA.Enforce {
	case MFARequired:
		return true
	case MFAAdmins:
		return slices.Contains(user.Roles, viewer.Admin)
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

// HasFactor reports whether user has a second factor, usable or not.
func (a *Accounts) HasFactor(ctx context.Context, user viewer.UserID) (bool, error) {
	enrolled, err := store.All(ctx, a.db, selectKinds, store.Value[string], user, user)
	if err != nil {
		return false, fmt.Errorf("read factors of %s: %w", user, err)
	}
	return len(enrolled) > 0, nil
}

func stepUp(message string) error {
	f := fault.New(fault.StepUpRequired, "", message)
	f.Hint = "Call stepUp, answer its challenge with verifyMfa, and try again."
	return f
}

// mayEnroll returns why by may not enrol a factor of method now, nil if they may.
func (a *Accounts) mayEnroll(ctx context.Context, by viewer.Viewer, m Method) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	if err := a.Assure(ctx, by, viewer.AAL2, Freshness); err != nil {
		return err
	}
	if !a.Offers(m) {
		return fault.New(fault.WrongState, "", "This kind of second factor is not offered here.")
	}
	decision, err := a.limiter.Allow(ctx, enrolments, string(by.User), 1)
	if err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	if !decision.Allowed {
		return fault.Slow(decision.RetryAfter)
	}
	return nil
}

// pendTx keeps a factor that waits to be confirmed in place of others of its kind that do.
func (a *Accounts) pendTx(ctx context.Context, tx *store.Tx, r factorRow, most int) error {
	if _, err := tx.Exec(ctx, deletePending, r.User, r.Kind); err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	return a.insertFactorTx(ctx, tx, r, most)
}

// insertFactorTx keeps a factor unless the account has most of its kind. Faults: WRONG_STATE, TAKEN.
func (a *Accounts) insertFactorTx(ctx context.Context, tx *store.Tx, r factorRow, most int) error {
	if _, err := a.LockTx(ctx, tx, r.User); err != nil { // counts, with whoever enrols beside us
		return err
	}
	rows, err := store.All(ctx, tx, selectFactors, scanFactor, r.User)
	if err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	same := 0
	for _, other := range rows {
		if other.Kind == r.Kind {
			same++
		}
	}
	if same >= most {
		return fault.New(fault.WrongState, "", fmt.Sprintf("Your account has %d factors of this kind, the most there can be. Remove one first.", most))
	}
	_, err = tx.Exec(ctx, insertFactor, r.ID, r.User, r.Kind, r.sealed, r.nameSealed, r.lookup, r.counter,
		r.codeHash, store.At(r.codeExpires), store.At(r.CreatedAt), store.At(r.confirmedAt))
	if store.Conflict(err) {
		return fault.New(fault.Taken, "", "This passkey is registered already.")
	}
	if err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	return nil
}

// Proven is a factor of which its owner has shown that they hold it. It counts from [Accounts.ConfirmTx] on.
type Proven struct {
	row   factorRow
	fresh bool // it is not stored yet
}

// ConfirmTx makes p a factor of by. It returns the recovery codes of an account that had none, nil else.
// Faults: NOT_FOUND when another request has confirmed it; TAKEN and WRONG_STATE for passkeys.
func (a *Accounts) ConfirmTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, p Proven) (Factor, []string, error) {
	user, err := a.LockTx(ctx, tx, by.User)
	if err != nil {
		return Factor{}, nil, err
	}
	if err := a.countFactorTx(ctx, tx, p); err != nil {
		return Factor{}, nil, err
	}
	factor, err := a.openFactor(p.row)
	if err != nil {
		return Factor{}, nil, err
	}
	left, err := recoveryHashes(ctx, tx, user.ID)
	if err != nil {
		return Factor{}, nil, err
	}
	var codes []string
	if len(left) == 0 {
		if codes, err = newRecoveryCodesTx(ctx, tx, user.ID, a.now()); err != nil {
			return Factor{}, nil, err
		}
	}
	return factor, codes, a.tellFactorTx(ctx, tx, by, user, factor, audit.FactorAdded, notify.FactorAdded)
}

// countFactorTx makes p count; of two requests at once one does.
func (a *Accounts) countFactorTx(ctx context.Context, tx *store.Tx, p Proven) error {
	if p.fresh {
		p.row.confirmedAt = a.now()
		return a.insertFactorTx(ctx, tx, p.row, passkey.MaxCredentials)
	}
	confirmed, err := tx.Exec(ctx, confirmFactor, store.At(a.now()), p.row.counter, p.row.ID)
	if err != nil {
		return fmt.Errorf("confirm factor: %w", err)
	}
	if confirmed == 0 {
		return fault.Missing("factor that waits to be confirmed")
	}
	return nil
}

// tellFactorTx records what happened to a factor and tells its owner.
func (a *Accounts) tellFactorTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user User, f Factor, action audit.Action, kind notify.Kind) error {
	err := a.audit.RecordTx(ctx, tx, audit.Event{
		Action: action, By: by, Subject: user.ID, Session: by.Session,
		Details: map[string]string{"kind": string(f.Kind), "factor": string(f.ID)},
	})
	if err != nil {
		return err
	}
	return a.PostTx(ctx, tx, a.messageTo(user, notify.Message{Kind: kind, Factor: f.Name, At: a.now()}))
}

// messageTo addresses m to the mail address of user.
func (a *Accounts) messageTo(user User, m notify.Message) notify.Message {
	m.To, m.Name, m.Locale = user.Email, user.Name, user.Locale
	return m
}

// LockTx returns the account id and keeps it from being changed by another until tx ends. Fault:
// NOT_FOUND.
func (a *Accounts) LockTx(ctx context.Context, tx *store.Tx, id viewer.UserID) (User, error) {
	r, err := store.One(ctx, tx, lockUser, scanRow, id)
	if errors.Is(err, store.ErrNotFound) {
		return User{}, fault.Missing("user")
	}
	if err != nil {
		return User{}, fmt.Errorf("lock account %s: %w", id, err)
	}
	return a.open(r)
}

// Version counts the changes of password, roles, status and address; what hangs on them compares it.
func (u User) Version() int64 { return u.version }

// newFactor returns the row of a factor of by, sealed.
func (a *Accounts) newFactor(by viewer.Viewer, kind FactorKind, secret, name, otherwise string) (factorRow, error) {
	name, err := parseName(name)
	if err != nil {
		return factorRow{}, err
	}
	if name == "" {
		name = otherwise
	}
	r := factorRow{Factor: Factor{ID: store.NewID[FactorID]("fac"), User: by.User, Kind: kind, Name: name, CreatedAt: a.now()}}
	if r.sealed, err = a.ring.Seal([]byte(secret), factorPlace(r.ID, "sealed")); err != nil {
		return factorRow{}, fmt.Errorf("seal factor: %w", err)
	}
	if r.nameSealed, err = a.ring.Seal([]byte(name), factorPlace(r.ID, "name")); err != nil {
		return factorRow{}, fmt.Errorf("seal factor: %w", err)
	}
	return r, nil
}

// openFactor unseals the name.
func (a *Accounts) openFactor(r factorRow) (Factor, error) {
	name, err := a.ring.Open(r.nameSealed, factorPlace(r.ID, "name"))
	if err != nil {
		return Factor{}, fmt.Errorf("open factor %s: %w", r.ID, err)
	}
	r.Name = string(name)
	return r.Factor, nil
}

// secretOf unseals what the factor is made of.
func (a *Accounts) secretOf(r factorRow) (string, error) {
	secret, err := a.ring.Open(r.sealed, factorPlace(r.ID, "sealed"))
	if err != nil {
		return "", fmt.Errorf("open factor %s: %w", r.ID, err)
	}
	return string(secret), nil
}

func factorPlace(id FactorID, column string) []byte {
	return []byte("factors/" + string(id) + "/" + column)
}

// pending returns the factor id of by that waits to be confirmed. Fault: NOT_FOUND.
func (a *Accounts) pending(ctx context.Context, by viewer.Viewer, id FactorID, kind FactorKind) (factorRow, error) {
	if err := by.InPerson(); err != nil {
		return factorRow{}, err
	}
	r, err := store.One(ctx, a.db, selectFactor, scanFactor, id)
	if errors.Is(err, store.ErrNotFound) || err == nil &&
		(r.User != by.User || r.Kind != kind || !r.confirmedAt.IsZero() || a.now().Sub(r.CreatedAt) > pendingLife) {
		return factorRow{}, fault.Missing("factor that waits to be confirmed")
	}
	if err != nil {
		return factorRow{}, fmt.Errorf("read factor: %w", err)
	}
	return r, nil
}

// WrongCode is the one answer for a code that is wrong, was used, or was never sent.
func WrongCode() error { return wrongCode() }

func wrongCode() *fault.Fault {
	return fault.New(fault.InvalidCode, "code", "The code is wrong or was used already.")
}

// PruneFactors deletes what was not confirmed in time and what has expired, at most 500 rows of each.
func (a *Accounts) PruneFactors(ctx context.Context) error {
	now := a.now()
	return a.db.Update(ctx, func(tx *store.Tx) error {
		for _, stale := range []struct {
			q      *store.Query
			before time.Time
		}{{prunePending, now.Add(-pendingLife)}, {pruneCeremonies, now}, {pruneTrusted, now}} {
			if _, err := tx.Exec(ctx, stale.q, store.At(stale.before)); err != nil {
				return fmt.Errorf("prune factors: %w", err)
			}
		}
		return nil
	})
}
