package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// secretPrefix tells people and secret scanners what they have found.
const secretPrefix = "ghs_"

// MaxGrace is how long the last secret of a service account may be good after its rotation.
const MaxGrace = time.Hour

// ServiceAccount is a program with an account of its own: a client of OAuth 2.0 (RFC 6749 §2) that
// gets access tokens for its secret and owns the jobs that it starts. It may do no more than whoever
// made it, and ends with them.
type ServiceAccount struct {
	ID          viewer.MachineID // the client_id
	Owner       viewer.UserID
	Name        string
	Scopes      []viewer.Scope
	CreatedAt   time.Time
	LastUsedAt  time.Time // to the minute; zero: never
	FormerUntil time.Time // until when the last secret is good; zero: it is not
}

// CreateServiceAccount makes a service account of by and returns it with the one showing of its
// secret. Faults: those of [Sessions.CreateAPIKey]; WRONG_STATE when by has 20.
func (s *Sessions) CreateServiceAccount(ctx context.Context, by viewer.Viewer, name string, scopes []viewer.Scope) (ServiceAccount, string, error) {
	if err := by.InPerson(); err != nil {
		return ServiceAccount{}, "", err
	}
	if err := checkMachine(by, name, scopes); err != nil {
		return ServiceAccount{}, "", err
	}
	account := ServiceAccount{
		ID: store.NewID[viewer.MachineID]("svc"), Owner: by.User, Name: strings.TrimSpace(name),
		Scopes: viewer.Sorted(scopes), CreatedAt: s.now(),
	}
	shown, hash := token.NewOpaque(secretPrefix)
	err := s.change(ctx, "create service account", func(tx *store.Tx) error {
		if err := s.LiveTx(ctx, tx, by); err != nil {
			return err
		}
		if err := s.roomTx(ctx, tx, countServices, by.User, maxServices, "service accounts"); err != nil {
			return err
		}
		if err := insertServiceTx(ctx, tx, account, hash); err != nil {
			return err
		}
		return s.recordService(ctx, tx, ActionServiceCreated, by, account, map[string]string{"scopes": joinScopes(account.Scopes)})
	})
	if err != nil {
		return ServiceAccount{}, "", err
	}
	return account, shown, nil
}

// RotateServiceAccount gives a service account a new secret, whose one showing it returns. The last
// one is good for grace, at most an hour; with none, the access tokens that are out end too. Faults:
// UNAUTHENTICATED, FORBIDDEN for a machine, NOT_FOUND, INVALID.
func (s *Sessions) RotateServiceAccount(ctx context.Context, by viewer.Viewer, id viewer.MachineID, grace time.Duration) (ServiceAccount, string, error) {
	if err := by.Person(); err != nil {
		return ServiceAccount{}, "", err
	}
	if grace < 0 || grace > MaxGrace {
		return ServiceAccount{}, "", fault.New(fault.Invalid, "graceSeconds", "The last secret stays good for 0 to 3600 seconds.")
	}
	shown, hash := token.NewOpaque(secretPrefix)
	var account ServiceAccount
	err := s.change(ctx, "rotate service account", func(tx *store.Tx) (err error) {
		if err := s.LiveTx(ctx, tx, by); err != nil {
			return err
		}
		if account, err = s.ownServiceTx(ctx, tx, by, id); err != nil {
			return err
		}
		rotate, until := rotateService, s.now().Add(grace)
		if grace == 0 {
			rotate, until = replaceService, time.Time{}
		}
		if _, err := tx.Exec(ctx, rotate, store.At(until), hash[:], store.At(s.now()), id); err != nil {
			return err
		}
		account.FormerUntil = until
		reason := Reason("")
		if grace == 0 {
			reason = Revoked
		}
		if err := s.noticeTx(ctx, tx, []viewer.SessionID{viewer.SessionID(id)}, reason); err != nil {
			return err
		}
		return s.recordService(ctx, tx, ActionServiceRotated, by, account, map[string]string{"grace": grace.String()})
	})
	if err != nil {
		return ServiceAccount{}, "", err
	}
	return account, shown, nil
}

// DeleteServiceAccount ends a service account and its access tokens, on every server within a second.
// Its jobs go on. Faults: UNAUTHENTICATED, FORBIDDEN for a machine, NOT_FOUND.
func (s *Sessions) DeleteServiceAccount(ctx context.Context, by viewer.Viewer, id viewer.MachineID) error {
	if err := by.Person(); err != nil {
		return err
	}
	return s.change(ctx, "delete service account", func(tx *store.Tx) error {
		account, err := s.ownServiceTx(ctx, tx, by, id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, revokeService, store.At(s.now()), id); err != nil {
			return err
		}
		if err := s.noticeTx(ctx, tx, []viewer.SessionID{viewer.SessionID(id)}, Revoked); err != nil {
			return err
		}
		return s.recordService(ctx, tx, ActionServiceDeleted, by, account, nil)
	})
}

// ServicesOf returns the ids of all service accounts that owner has or had: their jobs go on after them.
// The caller checks who may see them.
func (s *Sessions) ServicesOf(ctx context.Context, owner viewer.UserID) ([]viewer.MachineID, error) {
	ids, err := store.All(ctx, s.db, selectServiceIDs, store.Value[viewer.MachineID], owner)
	if err != nil {
		return nil, fmt.Errorf("read service accounts of %s: %w", owner, err)
	}
	return ids, nil
}

// ownServiceTx returns the service account id that by may manage.
func (s *Sessions) ownServiceTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, id viewer.MachineID) (ServiceAccount, error) {
	account, err := store.One(ctx, tx, selectService, scanService, id)
	if err == nil && !mayEnd(by, account.Owner) || isMissing(err) {
		return ServiceAccount{}, fault.Missing("service account")
	}
	return account, err
}

func (s *Sessions) recordService(ctx context.Context, tx *store.Tx, action string, by viewer.Viewer, account ServiceAccount, details map[string]string) error {
	if details == nil {
		details = map[string]string{}
	}
	details["client"] = string(account.ID)
	return s.recordTx(ctx, tx, Event{
		Action: action, By: by, User: account.Owner, Session: by.Session, Machine: account.Name, Details: details,
	})
}
