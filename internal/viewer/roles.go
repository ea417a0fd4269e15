package viewer

import "slices"

// Role is a set of scopes that an account can hold.
type Role string

// The roles. Every account holds User without a row saying so.
const (
	User      Role = "USER"
	Developer Role = "DEVELOPER"
	Admin     Role = "ADMIN"
)

// Scope is one permission.
type Scope string

// The scopes.
const (
	RunJobs     Scope = "jobs:run"        // start one's own jobs, see and manage them
	WorkJobs    Scope = "jobs:work"       // report on one's own jobs and end them, for the worker outside that has them
	ReadJobs    Scope = "jobs:read-all"   // see everybody's jobs
	ManageJobs  Scope = "jobs:manage-all" // cancel, retry and delete them; pause queues
	ReadAccount Scope = "account:read"    // see one's own sessions, keys and the like
	ReadUsers   Scope = "users:read"      // see everybody's account
	ReadAudit   Scope = "audit:read"      // see what happened
	SendMail    Scope = "mail:send"       // send mails of one's own words by the operator's server
	Introspect  Scope = "schema:introspect"
)

// grants is the one table of who may do what.
var grants = map[Role][]Scope{
	User:      {RunJobs, WorkJobs, ReadAccount},
	Developer: {RunJobs, WorkJobs, ReadAccount, Introspect},
	Admin:     {RunJobs, WorkJobs, ReadAccount, ReadJobs, ManageJobs, ReadUsers, ReadAudit, SendMail, Introspect},
}

// own is the scope that whoever is limited needs for things of their own, where others need the key
// of this table.
var own = map[Scope]Scope{ReadJobs: RunJobs, ManageJobs: RunJobs, ReadUsers: ReadAccount, ReadAudit: ReadAccount}

// within says which scope holds another: who is limited to the wider one may do what the narrower says.
var within = map[Scope]Scope{WorkJobs: RunJobs}

// holds reports whether one of scopes is scope or holds it.
func holds(scopes []Scope, scope Scope) bool {
	wider, narrow := within[scope]
	return slices.Contains(scopes, scope) || narrow && slices.Contains(scopes, wider)
}

// impersonating is what an administrator may do who acts as somebody else.
var impersonating = []Scope{RunJobs, ReadAccount}

// Valid reports whether r is a role.
func (r Role) Valid() bool {
	_, known := grants[r]
	return known
}

// Valid reports whether s is a scope; an administrator holds them all.
func (s Scope) Valid() bool { return slices.Contains(grants[Admin], s) }

// Granted returns the scopes that roles grant, each once, in the order of the table.
func Granted(roles []Role) []Scope {
	var granted []Scope
	for _, scope := range grants[Admin] {
		if grantedBy(roles, scope) {
			granted = append(granted, scope)
		}
	}
	return granted
}

// Sorted returns scopes in the order of the table, each once; what is no scope is left out.
func Sorted(scopes []Scope) []Scope {
	return slices.DeleteFunc(slices.Clone(grants[Admin]), func(s Scope) bool { return !slices.Contains(scopes, s) })
}

// grantedBy reports whether one of roles, or USER, grants scope.
func grantedBy(roles []Role, scope Scope) bool {
	if slices.Contains(grants[User], scope) {
		return true
	}
	return slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(grants[r], scope) })
}

// Impersonating returns the scopes of an administrator who acts as somebody else; read only.
func Impersonating() []Scope { return impersonating }
