package login

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// PasskeyAttempt is a sign-in with a passkey alone.
type PasskeyAttempt struct {
	Ceremony string
	Response json.RawMessage // what the browser's credential.toJSON() gave
	Client
}

// StartPasskeyLogin begins a sign-in with a passkey: with whatever passkey the person picks, or, with an
// address, with one of its. Faults: WRONG_STATE where there are no passkeys, RATE_LIMITED.
func (l *Logins) StartPasskeyLogin(ctx context.Context, email string, ip netip.Addr) (account.Ceremony, error) {
	if err := l.throttle.count(ctx, l.throttle.origin(ip, l.throttle.limits.IP, l.throttle.limits.Network)); err != nil {
		return account.Ceremony{}, err
	}
	return l.accounts.StartPasskeyLogin(ctx, email)
}

// ByPasskey signs a person in. A passkey that has verified its user is two factors at once; one that has
// not is the first of two. Faults: TOKEN_INVALID at ceremonyId, PASSKEY_REFUSED, ACCOUNT_DISABLED,
// EMAIL_NOT_VERIFIED, with a fresh mail, RATE_LIMITED.
func (l *Logins) ByPasskey(ctx context.Context, attempt PasskeyAttempt) (Outcome, error) {
	if err := l.throttle.count(ctx, l.throttle.origin(attempt.IP, l.throttle.limits.IP, l.throttle.limits.Network)); err != nil {
		return Outcome{}, err
	}
	entry, err := l.accounts.FinishPasskeyLogin(ctx, attempt.Ceremony, attempt.Response)
	if err != nil {
		return Outcome{}, l.refusePasskey(ctx, attempt, err)
	}
	by := way{passkeyMethod(entry), viewer.AAL1}
	if entry.UserVerified {
		by.level = viewer.AAL2
	}
	var outcome Outcome
	err = l.db.Update(ctx, func(tx *store.Tx) error {
		user, err := l.accounts.LockTx(ctx, tx, entry.User)
		if err != nil {
			return err
		}
		if user.Status != account.Active {
			return fault.New(fault.AccountDisabled, "", "This account is disabled.")
		}
		if err := l.accounts.UsePasskeyTx(ctx, tx, entry); err != nil {
			return err
		}
		outcome, err = l.enterTx(ctx, tx, user, attempt.Client, by)
		return err
	})
	if err != nil {
		err = l.remind(ctx, viewer.Viewer{User: entry.User}, "", attempt.Origin, err)
		return Outcome{}, l.refusePasskey(ctx, attempt, err)
	}
	return outcome, nil
}

// refusePasskey records a refusal.
func (l *Logins) refusePasskey(ctx context.Context, attempt PasskeyAttempt, why error) error {
	f, ok := fault.As(why)
	if !ok || !f.Mendable() {
		return asked("log in by passkey", why)
	}
	err := l.audit.Record(ctx, audit.Event{
		Action: audit.LoginRefused, Outcome: audit.Refused, Network: session.Network(attempt.IP),
		Details: map[string]string{"method": "passkey", "reason": string(f.Code)},
	})
	if err != nil {
		return fmt.Errorf("log in by passkey: %w", err)
	}
	return f
}

// The passkeys of RFC 8176: a key that may be copied counts as one in software.
const (
	bySyncedKey = "swk"
	byBoundKey  = "hwk"
)

func passkeyMethod(e account.PasskeyEntry) string {
	if e.Synced {
		return bySyncedKey
	}
	return byBoundKey
}

func isPasskey(method string) bool { return method == bySyncedKey || method == byBoundKey }
