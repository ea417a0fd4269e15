package account

import "time"

// NodeID returns the id under which a client can fetch u again.
func (u User) NodeID() string { return string(u.ID) }

// CalledName returns the name for those who tell an absent one from an empty one.
func (u User) CalledName() *string {
	if u.Name == "" {
		return nil
	}
	return &u.Name
}

// NodeID returns the id under which a client can fetch f again.
func (f Factor) NodeID() string { return string(f.ID) }

// NodeID returns the id under which a client can fetch d again.
func (d TrustedDevice) NodeID() string { return string(d.ID) }

// CalledName returns the name, nil when there is none.
func (d TrustedDevice) CalledName() *string {
	if d.Name == "" {
		return nil
	}
	return &d.Name
}

// DeletionAt returns when the account is deleted, nil when it stays.
func (u User) DeletionAt() *time.Time {
	if u.DeletesAt.IsZero() {
		return nil
	}
	return &u.DeletesAt
}
