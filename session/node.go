package session

import (
	"strings"
	"time"
)

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

// Impersonation reports whether an administrator acts as the person in s.
func (s Session) Impersonation() bool { return s.Actor != "" }

// NodeID returns the id under which a client can fetch k again.
func (k APIKey) NodeID() string { return string(k.ID) }

// ScopeNames returns the scopes as clients write them.
func (k APIKey) ScopeNames() []string { return strings.Fields(joinScopes(k.Scopes)) }

// Ends returns when k expires, nil when it does not.
func (k APIKey) Ends() *time.Time { return orNil(k.ExpiresAt) }

// LastUsed returns when k was last used, nil when it never was.
func (k APIKey) LastUsed() *time.Time { return orNil(k.LastUsedAt) }

// NodeID returns the id under which a client can fetch a again.
func (a ServiceAccount) NodeID() string { return string(a.ID) }

// ScopeNames returns the scopes as clients write them.
func (a ServiceAccount) ScopeNames() []string { return strings.Fields(joinScopes(a.Scopes)) }

// LastUsed returns when a was last used, nil when it never was.
func (a ServiceAccount) LastUsed() *time.Time { return orNil(a.LastUsedAt) }

// FormerSecretUntil returns until when the last secret is good, nil when it is not.
func (a ServiceAccount) FormerSecretUntil() *time.Time { return orNil(a.FormerUntil) }

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
