package viewer

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
	RunJobs    Scope = "jobs:run"
	ReadJobs   Scope = "jobs:read-all"
	ManageJobs Scope = "jobs:manage-all"
	ReadUsers  Scope = "users:read"
	Introspect Scope = "schema:introspect"
)

// grants is the one table of who may do what.
var grants = map[Role][]Scope{
	User:      {RunJobs},
	Developer: {RunJobs, Introspect},
	Admin:     {RunJobs, ReadJobs, ManageJobs, ReadUsers, Introspect},
}

// Valid reports whether r is a role.
func (r Role) Valid() bool {
	_, known := grants[r]
	return known
}
