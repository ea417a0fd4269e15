package account

import (
	"context"
	"fmt"

	"gatehouse/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Profile is what a person says of themselves; nil leaves a part as it is.
type Profile struct {
	Name   *string // "": none
	Locale *string // BCP 47
}

// UpdateProfile changes what by says of themselves. Faults: UNAUTHENTICATED; TOO_LONG and INVALID at
// name and locale.
func (a *Accounts) UpdateProfile(ctx context.Context, by viewer.Viewer, p Profile) (User, error) {
	if err := by.InPerson(); err != nil {
		return User{}, err
	}
	var name, locale string
	var err error
	if p.Name != nil {
		if name, err = parseName(*p.Name); err != nil {
			return User{}, err
		}
	}
	if p.Locale != nil {
		if locale, err = parseLocale(*p.Locale); err != nil {
			return User{}, err
		}
	}
	var user User
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		if user, err = a.userTx(ctx, tx, by.User); err != nil {
			return err
		}
		if p.Name != nil {
			user.Name = name
		}
		if p.Locale != nil {
			user.Locale = locale
		}
		return a.setProfileTx(ctx, tx, by, &user)
	})
	if err != nil {
		return User{}, fmt.Errorf("update profile: %w", err)
	}
	return user, nil
}

func (a *Accounts) setProfileTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user *User) error {
	var sealed []byte
	if user.Name != "" {
		var err error
		if sealed, err = a.ring.Seal([]byte(user.Name), place(user.ID, "name")); err != nil {
			return err
		}
	}
	user.UpdatedAt = a.now()
	if _, err := tx.Exec(ctx, updateProfile, sealed, user.Locale, store.At(user.UpdatedAt), user.ID); err != nil {
		return err
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return err
	}
	return a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.ProfileChanged, By: by, Subject: user.ID, Session: by.Session})
}
