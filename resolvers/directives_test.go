package resolvers

import (
	"context"
	"testing"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

func TestAnAdministratorWithAFactorMustHaveShownIt(t *testing.T) {
	has := func(yes bool) *Resolver {
		return &Resolver{HasFactor: func(context.Context, viewer.UserID) (bool, error) { return yes, nil }}
	}
	for name, row := range map[string]struct {
		resolver *Resolver
		level    viewer.Level
		want     fault.Code
	}{
		"one factor of two":      {has(true), viewer.AAL1, fault.StepUpRequired},
		"both":                   {has(true), viewer.AAL2, ""},
		"none enrolled":          {has(false), viewer.AAL1, ""},
		"no factors to be asked": {&Resolver{}, viewer.AAL1, ""},
	} {
		err := row.resolver.fresh(t.Context(), viewer.Viewer{User: "usr_1", Level: row.level})
		if row.want == "" && err != nil || row.want != "" && !fault.Is(err, row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}
