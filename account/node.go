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

// DeletionAt returns when the account is deleted, nil when it stays.
func (u User) DeletionAt() *time.Time {
	if u.DeletesAt.IsZero() {
		return nil
	}
	return &u.DeletesAt
}
