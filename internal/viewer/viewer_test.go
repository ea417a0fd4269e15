package viewer

import (
	"context"
	"testing"

	"gatehouse/internal/fault"
)

func TestNobodyMayDoNothing(t *testing.T) {
	nobody := From(context.Background())
	for _, scopes := range grants {
		for _, scope := range scopes {
			if nobody.May(scope) {
				t.Errorf("nobody may %s", scope)
			}
			if err := nobody.Require(scope); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("Require(%s) by nobody = %v, want UNAUTHENTICATED", scope, err)
			}
		}
	}
	if nobody.Owns("", ReadJobs) {
		t.Error("nobody owns the things without an owner")
	}
}

func TestRolesGrantOnlyTheirScopes(t *testing.T) {
	for _, c := range []struct {
		name  string
		roles []Role
		scope Scope
		want  bool
	}{
		{"a user runs jobs", nil, RunJobs, true},
		{"a user does not read everybody's jobs", nil, ReadJobs, false},
		{"a developer introspects", []Role{Developer}, Introspect, true},
		{"a developer does not read users", []Role{Developer}, ReadUsers, false},
		{"an admin reads everybody's jobs", []Role{Admin}, ReadJobs, true},
		{"an unknown role grants nothing", []Role{"ROOT"}, ReadUsers, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Viewer{User: "usr_1", Roles: c.roles}
			if got := v.May(c.scope); got != c.want {
				t.Errorf("May(%s) with %v = %v, want %v", c.scope, c.roles, got, c.want)
			}
		})
	}
}

func TestAViewerTravelsInTheContext(t *testing.T) {
	got := From(With(context.Background(), Viewer{User: "usr_1"}))
	if got.User != "usr_1" {
		t.Errorf("From(With(…)) = %+v", got)
	}
}
