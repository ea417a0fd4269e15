package viewer

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

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

func TestWhoeverIsLimitedMayNoMoreThanThePersonAndTheScopes(t *testing.T) {
	all := Granted([]Role{Admin})
	rapid.Check(t, func(t *rapid.T) {
		roles := rapid.SliceOfDistinct(rapid.SampledFrom([]Role{User, Developer, Admin}), rapid.ID).Draw(t, "roles")
		scopes := rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID).Draw(t, "scopes")
		person := Viewer{User: "usr_1", Roles: roles}
		limited := Viewer{User: "usr_1", Roles: roles, Scopes: scopes, Machine: "key_1"}
		if rapid.Bool().Draw(t, "impersonated") {
			limited.Machine, limited.Actor = "", "usr_2"
		}
		for _, scope := range all {
			held := slices.Contains(scopes, scope) || scope == WorkJobs && slices.Contains(scopes, RunJobs)
			if limited.May(scope) != (person.May(scope) && held) {
				t.Fatalf("%s: limited %t, person %t, scopes %v", scope, limited.May(scope), person.May(scope), scopes)
			}
			for _, owner := range []UserID{"usr_1", "usr_3", ""} {
				if limited.Owns(owner, scope) && !person.Owns(owner, scope) {
					t.Fatalf("limited owns the things of %q by %s, the person does not", owner, scope)
				}
			}
		}
		if limited.Has(Admin) || limited.Person() == nil || person.Person() != nil {
			t.Fatal("a limited viewer passes for the person, or the person does not")
		}
		if len(scopes) == 0 && (limited.Owns("usr_1", ReadJobs) || limited.Owns("usr_1", ReadUsers)) {
			t.Fatal("without a scope the owner's things are open")
		}
	})
}
