package account

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/queue"
)

// DeliverMessage is the kind of job that delivers a [Letter].
const DeliverMessage = "deliverMessage"

// Letter is a message on its way, as its job keeps it: sealed, for it may hold what lets one into an
// account.
type Letter struct {
	Sealed []byte    `json:"sealed"`
	Until  time.Time `json:"until,omitzero"` // nobody wants it later; zero: it never grows old
}

// letterPlace is the additional data of sealed letters.
const letterPlace = "jobs/deliverMessage"

// PostTx sends m if, and only if, tx commits: a job delivers it. A link or code that m holds for some
// minutes is not delivered after them. Without a sender for its medium nothing is sent, and no error
// tells: see [Accounts.Reaches].
func (a *Accounts) PostTx(ctx context.Context, tx *store.Tx, m notify.Message) error {
	if !a.post.Carries(m.Medium()) {
		return nil
	}
	m.ID = store.NewID[string]("msg")
	if err := m.Validate(); err != nil {
		return fmt.Errorf("post %s: %w", m.Kind, err)
	}
	letter, err := seal(a.ring, m, a.now())
	if err != nil {
		return fmt.Errorf("post %s: %w", m.Kind, err)
	}
	request, err := queue.Kind[Letter, any]{Name: DeliverMessage}.Request("", letter, queue.JobOptions{Priority: queue.High})
	if err != nil {
		return fmt.Errorf("post %s: %w", m.Kind, err)
	}
	if _, err := a.queue.EnqueueTx(ctx, tx, request); err != nil {
		return fmt.Errorf("post %s: %w", m.Kind, err)
	}
	return nil
}

// Reaches reports whether messages of medium can be sent.
func (a *Accounts) Reaches(medium notify.Medium) bool { return a.post.Carries(medium) }

func seal(ring *secret.Keyring, m notify.Message, now time.Time) (Letter, error) {
	plain, err := json.Marshal(m)
	if err != nil {
		return Letter{}, err
	}
	letter := Letter{}
	if m.Minutes > 0 {
		letter.Until = now.Add(time.Duration(m.Minutes) * time.Minute)
	}
	letter.Sealed, err = ring.Seal(plain, []byte(letterPlace))
	return letter, err
}

// Open returns the message of l.
func (l Letter) Open(ring *secret.Keyring) (notify.Message, error) {
	var m notify.Message
	plain, err := ring.Open(l.Sealed, []byte(letterPlace))
	if err != nil {
		return m, fmt.Errorf("open letter: %w", err)
	}
	if err := json.Unmarshal(plain, &m); err != nil {
		return m, fmt.Errorf("open letter: %w", err)
	}
	return m, nil
}
