package account

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/audit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Notice is what the owner of an account is told about its safety.
type Notice struct {
	Kind    notify.Kind // NewDevice, TokenReused, SessionSuspended, APIKeyCreated, ServiceSecretCreated
	Device  string      // the browser and system, or the program
	Network string      // as session.Network gives it; may be empty
	Machine string      // the name of the API key or service account
}

// TellTx posts n, with a link that says "this was not me", to the address of user if, and only if, tx
// commits. An account that is gone is told nothing.
func (a *Accounts) TellTx(ctx context.Context, tx *store.Tx, user viewer.UserID, n Notice) error {
	found, err := store.One(ctx, tx, selectByID, scanRow, user)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tell %s: %w", user, err)
	}
	to, err := a.open(found)
	if err != nil {
		return err
	}
	return a.warnTx(ctx, tx, to, notify.Message{Kind: n.Kind, Device: n.Device, Network: n.Network, Machine: n.Machine})
}

// warnTx posts messages of one kind to the owner, with a link that says "this was not me", if, and only
// if, tx commits.
func (a *Accounts) warnTx(ctx context.Context, tx *store.Tx, user User, messages ...notify.Message) error {
	if len(messages) == 0 {
		return nil
	}
	link, err := a.DisownTx(ctx, tx, user, messages[0].Kind)
	if err != nil {
		return fmt.Errorf("warn %s: %w", user.ID, err)
	}
	for _, m := range messages {
		m.Link, m.At = link, a.now()
		if err := a.PostTx(ctx, tx, a.messageTo(user, m)); err != nil {
			return err
		}
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
	return a.warnTx(ctx, tx, user, notify.Message{Kind: kind, Factor: f.Name})
}

// messageTo addresses m to the mail address of user.
func (a *Accounts) messageTo(user User, m notify.Message) notify.Message {
	m.To, m.Name, m.Locale = user.Email, user.Name, user.Locale
	return m
}
