// Package viewer says on whose behalf something is done.
//
// A [Viewer] is made once at the edge from a verified credential and handed to every function of
// the domain that reads or changes something of somebody. The zero Viewer is nobody and may do
// nothing. It stands below session, queue and audit because all three ask for it and none may know
// the others.
package viewer

import (
	"context"
	"slices"
	"time"

	"gatehouse/internal/fault"
)

// UserID names a person's account, "usr_…".
type UserID string

// SessionID names one signed-in session, "ses_…".
type SessionID string

// MachineID names what acts without a person: an API key, "key_…", or a service account, "svc_…".
type MachineID string

// Level is the authenticator assurance level of a session (NIST SP 800-63B §4).
type Level int8

// The levels in use: one factor, and two.
const (
	AAL1 Level = 1
	AAL2 Level = 2
)

// String returns the level as the acr claim carries it.
func (l Level) String() string {
	if l >= AAL2 {
		return "aal2"
	}
	return "aal1"
}

// Viewer is the caller of one operation.
type Viewer struct {
	User     UserID
	Session  SessionID
	Level    Level
	Methods  []string  // how the person signed in (RFC 8176), e.g. "pwd"
	AuthTime time.Time // when the person last proved who they are
	Roles    []Role
	Verified bool // the e-mail address is confirmed
	System   bool // the server itself: a job, a command line

	// Suspended is the session of somebody who must prove who they are before they are anybody: the
	// viewer is nobody otherwise.
	Suspended SessionID

	Machine  MachineID // the API key or service account that asks; "": a person does
	Actor    UserID    // the administrator who acts as User; "": User does
	ReadOnly bool      // nothing may be changed
	Scopes   []Scope   // of a machine or an Actor: no more than these, whatever the roles grant
}

// System is the server acting for itself.
func System() Viewer { return Viewer{System: true} }

// Anonymous reports whether nobody stands behind v.
func (v Viewer) Anonymous() bool { return v.User == "" && !v.System }

// Limited reports whether v is less than the person themself: a machine, or somebody who acts as them.
// It may do what its scopes say and change nothing by which one gets in.
func (v Viewer) Limited() bool { return v.Machine != "" || v.Actor != "" }

// Has reports whether v holds role. Whoever is limited holds none.
func (v Viewer) Has(role Role) bool {
	return v.System || !v.Limited() && slices.Contains(v.Roles, role)
}

// May reports whether one of v's roles grants scope and, when v is limited, its scopes have it too.
func (v Viewer) May(scope Scope) bool {
	switch {
	case v.System:
		return true
	case v.Anonymous(), v.Limited() && !holds(v.Scopes, scope):
		return false
	}
	return grantedBy(v.Roles, scope)
}

// Owns reports whether v is owner, or may act on every owner's things by scope. Whoever is limited
// needs a scope for the owner's things too.
func (v Viewer) Owns(owner UserID, scope Scope) bool {
	if v.System || v.May(scope) {
		return true
	}
	return owner != "" && v.User == owner && (!v.Limited() || v.May(own[scope]))
}

// Owned returns those of owners whose things v may act on by scope, as [Viewer.Owns] says.
func (v Viewer) Owned(owners []UserID, scope Scope) []UserID {
	var owned []UserID
	for _, owner := range owners {
		if v.Owns(owner, scope) {
			owned = append(owned, owner)
		}
	}
	return owned
}

// Person returns UNAUTHENTICATED for nobody and FORBIDDEN for whoever is limited: credentials, keys,
// factors and sessions are a person's to manage.
func (v Viewer) Person() error {
	if err := v.SignedIn(); err != nil {
		return err
	}
	if v.Limited() {
		return fault.Denied("Only the person themself may do this, signed in.")
	}
	return nil
}

// InPerson is Person for what only an account can do to itself: the server is refused as nobody.
func (v Viewer) InPerson() error {
	if err := v.Person(); err != nil {
		return err
	}
	if v.User == "" {
		return fault.SignIn()
	}
	return nil
}

// SignedIn returns UNAUTHENTICATED for nobody, and STEP_UP_REQUIRED for the holder of a suspended session.
func (v Viewer) SignedIn() error {
	switch {
	case !v.Anonymous():
		return nil
	case v.Suspended != "":
		return fault.StepUp()
	}
	return fault.SignIn()
}

// Require returns UNAUTHENTICATED for nobody and FORBIDDEN for a caller without scope.
func (v Viewer) Require(scope Scope) error {
	if err := v.SignedIn(); err != nil {
		return err
	}
	if !v.May(scope) {
		return fault.Denied("Your account may not do this.")
	}
	return nil
}

// Context is a context with the viewer on whose behalf something is done.
type Context struct {
	context.Context
	Viewer Viewer
}

type contextKey struct{}

// Value implements context.Context.
func (c *Context) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// With returns ctx with v.
func With(ctx context.Context, v Viewer) context.Context { return &Context{ctx, v} }

// From returns the viewer of ctx, nobody when there is none.
func From(ctx context.Context) Viewer {
	if c, ok := ctx.Value(contextKey{}).(*Context); ok {
		return c.Viewer
	}
	return Viewer{}
}
