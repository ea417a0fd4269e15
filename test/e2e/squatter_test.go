package e2e

import (
	"strings"
	"testing"
)

func TestTheCommandLinePromotesNobodyWhoHasOnlyTypedAnAddress(t *testing.T) {
	t.Parallel()
	d := embedded(t, "--email-verification", "required")
	squatter, operator := d.visitor(0), d.visitor(0)
	squatter.email, squatter.password = d.seen.email(), d.seen.password()
	operator.email, operator.password = squatter.email, d.seen.password()
	ask[any](squatter, registerDocument, vars{"in": vars{"email": squatter.email, "password": squatter.password}})

	promote := d.command("admin", "create", "--email", squatter.email, "--promote")
	if out, code := promote.run(); code == 0 || !strings.Contains(out, "--reclaim") {
		t.Fatalf("%d: it said %q", code, out)
	}
	if a := squatter.knock(); a.userError() != "EMAIL_NOT_VERIFIED" {
		t.Fatalf("the squatter got %v", a)
	}
	reclaim := d.command("admin", "create", "--email", squatter.email, "--reclaim")
	reclaim.stdin = operator.password + "\n"
	if out := reclaim.must(); !strings.Contains(out, "is an administrator") {
		t.Fatalf("it said %q", out)
	}
	if a := squatter.knock(); a.userError() != "INVALID_CREDENTIALS" {
		t.Errorf("the squatter got %v", a)
	}
	operator.login()
	if roles := ask[struct{ Me struct{ Roles []string } }](operator, `{ me { roles } }`, nil).Me.Roles; !strings.Contains(strings.Join(roles, " "), "ADMIN") {
		t.Errorf("the operator has the roles %v", roles)
	}
}
