package account

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// SetRoles gives the account id exactly these roles; every server acts on them within a second. Who must
// have a second factor from now on has their sessions ended. by is an administrator, and keeps that role:
// so there is always one. Faults: UNAUTHENTICATED, FORBIDDEN,
// NOT_FOUND, INVALID, EMAIL_NOT_VERIFIED, WRONG_STATE.
func (a *Accounts) SetRoles(ctx context.Context, by viewer.Viewer, id viewer.UserID, roles []viewer.Role) error {
	if err := administers(by); err != nil {
		return err
	}
	for _, role := range roles {
		if !role.Valid() {
			return fault.New(fault.Invalid, "roles", "There is no such role.")
		}
	}
	if by.User == id && !slices.Contains(roles, viewer.Admin) {
		return fault.New(fault.WrongState, "roles", "Another administrator must take this role from you.")
	}
	names := roleNames(roles)
	event := audit.Event{Action: audit.RolesChanged, By: by, Subject: id, Details: map[string]string{"roles": names}}
	return a.administer(ctx, event, func(tx *store.Tx) (int64, error) {
		user, err := a.LockTx(ctx, tx, id)
		if err != nil {
			return 0, err
		}
		if err := a.mayGetTx(ctx, tx, by, user, roles); err != nil {
			return 0, err
		}
		changed, err := tx.Exec(ctx, updateRoles, names, store.At(a.now()), id)
		if err == nil && a.enforced(roles) && !a.Enforced(user) { // from now on they sign in with a second factor
			return changed, a.sessions.RevokeAllTx(ctx, tx, by, id, session.RevokedByAdmin)
		}
		if err != nil || slices.Contains(roles, viewer.Admin) {
			return changed, err
		}
		return changed, a.sessions.EndImpersonationsTx(ctx, tx, by, id) // nobody acts as another without the role
	})
}

// mayGetTx refuses roles that would leave the deployment without an administrator, or give it one whom it
// does not know: nobody becomes one who is going to be deleted or, where addresses must be confirmed, has
// not confirmed theirs; and the last one stays one.
func (a *Accounts) mayGetTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user User, roles []viewer.Role) error {
	if !slices.Contains(roles, viewer.Admin) {
		return a.adminStaysTx(ctx, tx, by, user.ID)
	}
	if a.o.EmailVerification == Required && !user.Verified && !slices.Contains(user.Roles, viewer.Admin) {
		return unverified("roles")
	}
	return stays(user)
}

// unverified says that the address of an account, which is to become an administrator's, is not confirmed.
func unverified(field string) error {
	return fault.New(fault.EmailNotVerified, field, "Nobody has confirmed the address of this account: somebody else may have opened it.")
}

// stays refuses whoever is going to be deleted. Fault: WRONG_STATE.
func stays(user User) error {
	if user.DeletesAt.IsZero() {
		return nil
	}
	return fault.New(fault.WrongState, "", "This account is going to be deleted. Its owner must take that back first.")
}

// Disable ends all sessions of the account id and lets it sign in no more. by is another
// administrator. Faults: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, WRONG_STATE.
func (a *Accounts) Disable(ctx context.Context, by viewer.Viewer, id viewer.UserID) error {
	if err := administers(by); err != nil {
		return err
	}
	if by.User == id {
		return fault.New(fault.WrongState, "", "Another administrator must disable your account.")
	}
	event := audit.Event{Action: audit.AccountDisabled, By: by, Subject: id}
	return a.administer(ctx, event, func(tx *store.Tx) (int64, error) {
		if err := a.adminStaysTx(ctx, tx, by, id); err != nil {
			return 0, err
		}
		changed, err := tx.Exec(ctx, updateStatus, Disabled, store.At(a.now()), id)
		if err != nil || changed == 0 {
			return 0, err
		}
		return changed, a.sessions.RevokeAllTx(ctx, tx, by, id, session.AccountDisabled)
	})
}

// RevokeSessions ends all sessions of the account id. by is an administrator. Faults: UNAUTHENTICATED,
// FORBIDDEN, NOT_FOUND.
func (a *Accounts) RevokeSessions(ctx context.Context, by viewer.Viewer, id viewer.UserID) error {
	if err := administers(by); err != nil {
		return err
	}
	if _, err := a.Get(ctx, id); err != nil {
		return err
	}
	return a.sessions.RevokeAll(ctx, by, id)
}

// Enable lets a disabled account sign in again. Faults: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.
func (a *Accounts) Enable(ctx context.Context, by viewer.Viewer, id viewer.UserID) error {
	if err := administers(by); err != nil {
		return err
	}
	event := audit.Event{Action: audit.AccountEnabled, By: by, Subject: id}
	return a.administer(ctx, event, func(tx *store.Tx) (int64, error) {
		return tx.Exec(ctx, updateStatus, Active, store.At(a.now()), id)
	})
}

// administer runs a change of one account with all that belongs to it.
func (a *Accounts) administer(ctx context.Context, event audit.Event, change func(*store.Tx) (int64, error)) error {
	return a.db.Update(ctx, func(tx *store.Tx) error {
		changed, err := change(tx)
		if _, ok := fault.As(err); ok {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", event.Action, event.Subject, err)
		}
		if changed == 0 {
			return fault.Missing("user")
		}
		if err := a.changedTx(ctx, tx, event.Subject); err != nil {
			return err
		}
		return a.audit.RecordTx(ctx, tx, event)
	})
}

// adminStaysTx locks the administrators until tx ends and refuses to take one from them who cannot be
// spared: by must still be one, and id not the last. Two who take the role from each other
// at once would leave nobody otherwise.
func (a *Accounts) adminStaysTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, id viewer.UserID) error {
	admins, err := store.All(ctx, tx, lockAdmins, store.Value[viewer.UserID])
	switch {
	case err != nil:
		return fmt.Errorf("lock administrators: %w", err)
	case !by.System && !slices.Contains(admins, by.User):
		return fault.Denied("Only an administrator may do this.")
	case len(admins) == 1 && admins[0] == id:
		return fault.New(fault.WrongState, "", "This is the last administrator.")
	}
	return nil
}

func administers(by viewer.Viewer) error {
	if err := by.SignedIn(); err != nil {
		return err
	}
	if !by.Has(viewer.Admin) {
		return fault.Denied("Only an administrator may do this.")
	}
	return nil
}

// roleNames is how roles are stored: sorted, each once, without USER, which everybody holds.
func roleNames(roles []viewer.Role) string {
	var names []string
	for _, role := range roles {
		if role != viewer.User && !slices.Contains(names, string(role)) {
			names = append(names, string(role))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
