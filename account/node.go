package account

// NodeID returns the id under which a client can fetch u again.
func (u User) NodeID() string { return string(u.ID) }
