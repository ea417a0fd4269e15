package account

// NodeID returns the id under which a client can fetch u again.
func (u User) NodeID() string { return string(u.ID) }

// CalledName returns the name for those who tell an absent one from an empty one.
func (u User) CalledName() *string {
	if u.Name == "" {
		return nil
	}
	return &u.Name
}
