package session

// NodeID returns the id under which a client can fetch s again.
func (s Session) NodeID() string { return string(s.ID) }

// DeviceName returns what the person calls the device, nil when they have not said.
func (s Session) DeviceName() *string {
	if s.Device.Name == "" {
		return nil
	}
	return &s.Device.Name
}

// Assurance returns how sure we are of the person, as the acr claim has it.
func (s Session) Assurance() string { return s.Level.String() }
