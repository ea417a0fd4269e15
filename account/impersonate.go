package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// maxReason bounds why an administrator acts as somebody else, in characters.
const maxReason = 500

// Impersonate begins a session in which by acts as the account id, for [session.ImpersonationTTL]. The
// person is told by mail; the audit has it at both accounts. Unless readOnly is false nothing can be
// changed in it, and credentials never. Faults: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND; REQUIRED and
// TOO_LONG at reason; WRONG_STATE for oneself, for an administrator and for a disabled account.
func (a *Accounts) Impersonate(ctx context.Context, by viewer.Viewer, id viewer.UserID, reason string, readOnly bool, origin session.Origin) (session.Tokens, error) {
	if err := administers(by); err != nil {
		return session.Tokens{}, err
	}
	reason = strings.TrimSpace(reason)
	switch {
	case reason == "" || !utf8.ValidString(reason):
		return session.Tokens{}, fault.New(fault.Required, "reason", "Say why: the person reads it.")
	case utf8.RuneCountInString(reason) > maxReason:
		return session.Tokens{}, fault.New(fault.TooLong, "reason", "A reason has at most 500 characters.")
	}
	person, err := a.Get(ctx, id)
	if err != nil {
		return session.Tokens{}, err
	}
	admin, err := a.Get(ctx, by.User)
	if err != nil {
		return session.Tokens{}, fmt.Errorf("impersonate: %w", err)
	}
	var tokens session.Tokens
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		if err := a.impersonableTx(ctx, tx, by, id); err != nil {
			return err
		}
		if tokens, err = a.sessions.ImpersonateTx(ctx, tx, by, id, readOnly, origin); err != nil {
			return err
		}
		if err := a.recordImpersonationTx(ctx, tx, by, tokens.Session, reason); err != nil {
			return err
		}
		return a.PostTx(ctx, tx, notify.Message{
			Kind: notify.Impersonated, Locale: person.Locale, To: person.Email, Name: person.Name,
			By: admin.Name, Reason: reason, At: tokens.Session.CreatedAt,
		})
	})
	return tokens, err
}

// impersonableTx refuses those whom by may not act as, by what the database says now: the row is kept
// from changing until tx ends.
func (a *Accounts) impersonableTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, id viewer.UserID) error {
	if _, err := store.One(ctx, tx, lockVersion, store.Value[int64], id); err != nil {
		return fmt.Errorf("lock account %s: %w", id, err)
	}
	r, err := store.One(ctx, tx, selectByID, scanRow, id)
	if err != nil {
		return fmt.Errorf("read account %s: %w", id, err)
	}
	switch {
	case by.User == id:
		return fault.New(fault.WrongState, "userId", "You are this person.")
	case slices.Contains(r.roles(), viewer.Admin):
		return fault.New(fault.WrongState, "userId", "An administrator cannot be impersonated.")
	case r.Status != Active:
		return fault.New(fault.WrongState, "userId", "This account is disabled.")
	}
	return nil
}

// recordImpersonationTx writes into the audit of both: the person's, and the administrator's.
func (a *Accounts) recordImpersonationTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, s session.Session, reason string) error {
	details := map[string]string{"reason": reason, "readOnly": fmt.Sprint(s.ReadOnly), "user": string(s.User)}
	for _, event := range []audit.Event{
		{Action: audit.UserImpersonated, Subject: s.User},
		{Action: audit.ImpersonationBegun, Subject: by.User},
	} {
		event.By, event.Session, event.Network, event.Details = by, s.ID, s.Network, details
		if err := a.audit.RecordTx(ctx, tx, event); err != nil {
			return err
		}
	}
	return nil
}
