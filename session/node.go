package session

// NodeID returns the id under which a client can fetch s again.
func (s Session) NodeID() string { return string(s.ID) }
