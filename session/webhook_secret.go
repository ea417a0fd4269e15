package session

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// WebhookSecret is the key with which the webhooks of an account are signed. It is derived from the
// account and a number, so that only the number is stored.
type WebhookSecret [sha256.Size]byte

// Text returns the secret as a receiver is given it: whsec_ and its base64, as Standard Webhooks has it.
func (k WebhookSecret) Text() string { return "whsec_" + base64.StdEncoding.EncodeToString(k[:]) }

// String hides the secret from fmt.
func (k WebhookSecret) String() string { return "[webhook secret]" }

// GoString hides the secret from %#v.
func (k WebhookSecret) GoString() string { return k.String() }

// MaxWebhookGrace is how long the last webhook secret of an account may still sign after its rotation.
const MaxWebhookGrace = 7 * 24 * time.Hour

// RotateWebhookSecret gives by's webhooks a new secret, whose one showing it returns: nobody has been
// shown the one before the first. The last one signs beside it for grace, at most seven days. Faults:
// UNAUTHENTICATED, FORBIDDEN for a machine, INVALID.
func (s *Sessions) RotateWebhookSecret(ctx context.Context, by viewer.Viewer, grace time.Duration) (WebhookSecret, error) {
	if err := by.InPerson(); err != nil {
		return WebhookSecret{}, err
	}
	if grace < 0 || grace > MaxWebhookGrace {
		return WebhookSecret{}, fault.New(fault.Invalid, "graceSeconds", "The last secret signs for 0 to 604800 seconds more.")
	}
	now, until := s.now(), time.Time{}
	if grace > 0 {
		until = now.Add(grace)
	}
	var version int64
	err := s.change(ctx, "rotate webhook secret", func(tx *store.Tx) (err error) {
		if err := s.LiveTx(ctx, tx, by); err != nil {
			return err
		}
		version, err = store.One(ctx, tx, rotateWebhookSecret, store.Value[int64], by.User, store.At(now), store.At(until))
		if err != nil {
			return err
		}
		return s.recordTx(ctx, tx, Event{
			Action: ActionWebhookRotated, By: by, User: by.User, Session: by.Session, Details: map[string]string{"grace": grace.String()},
		})
	})
	if err != nil {
		return WebhookSecret{}, err
	}
	return s.webhookSecret(by.User, version), nil
}

// WebhookSecrets returns the secrets that sign the webhooks of owner, a person or one of their service accounts,
// which has its person's: the present one first. The caller signs with them and shows them to nobody.
func (s *Sessions) WebhookSecrets(ctx context.Context, owner viewer.UserID) ([]WebhookSecret, error) {
	type kept struct {
		owner   viewer.UserID
		version int64
		former  bool
	}
	k, err := store.One(ctx, s.db, selectWebhookSecret, func(scan store.Scan) (k kept, err error) {
		err = scan(&k.owner, &k.version, &k.former)
		return k, err
	}, store.At(s.now()), owner, owner)
	if err != nil {
		return nil, fmt.Errorf("read webhook secret of %s: %w", owner, err)
	}
	secrets := []WebhookSecret{s.webhookSecret(k.owner, k.version)}
	if k.former {
		secrets = append(secrets, s.webhookSecret(k.owner, k.version-1))
	}
	return secrets, nil
}

func (s *Sessions) webhookSecret(owner viewer.UserID, version int64) WebhookSecret {
	mac := hmac.New(sha256.New, s.webhooks)
	fmt.Fprintf(mac, "%s\x00%d", owner, version)
	return WebhookSecret(mac.Sum(nil))
}
