package session

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/agent"
)

// The memory of devices.
const (
	knownFor     = 90 * 24 * time.Hour // since the last sign-in
	recentWithin = 24 * time.Hour
	maxKnown     = 100 // of one user; the oldest give way
)

// Recognition is what is known of the device of a sign-in.
type Recognition struct {
	New    bool // the user has not signed in with it for 90 days, but with another
	Recent int  // devices first seen within the last 24 hours, this one included
}

// RecognizeTx says whether user has signed in from at before, and remembers it. Device id and
// user-agent family are known together: a known id with another browser is new. The first sign-in of a
// user is not New.
func (s *Sessions) RecognizeTx(ctx context.Context, tx *store.Tx, user viewer.UserID, deviceID string, at Origin) (Recognition, error) {
	now, mark := s.now(), markOf(deviceID, at.Agent)
	seen, err := store.One(ctx, tx, selectKnown, scanKnown, mark, store.At(now.Add(-recentWithin)), user)
	if err != nil {
		return Recognition{}, fmt.Errorf("look for known devices: %w", err)
	}
	known := now.Sub(seen.last) < knownFor
	if _, err := tx.Exec(ctx, rememberDevice, user, mark, store.At(now), store.At(now), store.At(now.Add(-knownFor))); err != nil {
		return Recognition{}, fmt.Errorf("remember device: %w", err)
	}
	if known || seen.all == 0 {
		return Recognition{}, nil
	}
	if _, err := tx.Exec(ctx, forgetDevices, user, user, maxKnown); err != nil {
		return Recognition{}, fmt.Errorf("forget devices: %w", err)
	}
	return Recognition{New: true, Recent: seen.recent + 1}, nil
}

// LastFrom returns when user last signed in with the device and browser of at, or the zero time if it was
// not within 90 days. It takes as long whether or not there is such a user, or such a device.
func (s *Sessions) LastFrom(ctx context.Context, user viewer.UserID, deviceID string, at Origin) (time.Time, error) {
	last, err := store.One(ctx, s.db, selectLastFrom, func(scan store.Scan) (last time.Time, err error) {
		err = scan(store.Time(&last))
		return last, err
	}, user, markOf(deviceID, at.Agent))
	if err != nil {
		return time.Time{}, fmt.Errorf("read last sign-in of %s: %w", user, err)
	}
	if s.now().Sub(last) >= knownFor {
		return time.Time{}, nil
	}
	return last, nil
}

// KnownDevice is when a device was signed in with. Which it is, is kept as a hash.
type KnownDevice struct{ FirstSeenAt, LastSeenAt time.Time }

// KnownDevices returns the devices that user has signed in with, newest first. The caller checks who may
// see them.
func (s *Sessions) KnownDevices(ctx context.Context, user viewer.UserID) ([]KnownDevice, error) {
	devices, err := store.All(ctx, s.db, selectDevices, func(scan store.Scan) (d KnownDevice, err error) {
		err = scan(store.Time(&d.FirstSeenAt), store.Time(&d.LastSeenAt))
		return d, err
	}, user)
	if err != nil {
		return nil, fmt.Errorf("read devices of %s: %w", user, err)
	}
	return devices, nil
}

// ForgetDevicesTx forgets what user has signed in with: it was somebody else.
func (s *Sessions) ForgetDevicesTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	if _, err := tx.Exec(ctx, forgetAllDevices, user); err != nil {
		return fmt.Errorf("forget devices of %s: %w", user, err)
	}
	return nil
}

// known is what the table says of a user's devices, and of the one in question.
type known struct {
	all, recent int
	last        time.Time // zero: never
}

// markOf is what a device is known by. The length in front keeps ("ab", "c") and ("a", "bc") apart.
func markOf(deviceID, userAgent string) []byte {
	deviceID = cut(deviceID, maxDevice)
	mark := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(deviceID), deviceID, agent.Of(cut(userAgent, maxAgent))))
	return mark[:]
}

// pruneDevices forgets what nobody has signed in with for 90 days, 500 in a transaction. The last
// device of a user stays: it tells that there was a sign-in before.
func (s *Sessions) pruneDevices(ctx context.Context) error {
	if err := s.db.Prune(ctx, deleteDevices, store.At(s.now().Add(-knownFor))); err != nil {
		return fmt.Errorf("forget old devices: %w", err)
	}
	return nil
}
