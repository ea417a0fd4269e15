package resolvers

import (
	"context"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

func TestTheDoorOfAFieldLetsInWhomItsDirectiveNames(t *testing.T) {
	yes, second := true, int(viewer.AAL2)
	mutation := graphql.WithFieldContext(t.Context(), &graphql.FieldContext{
		Object: "Mutation", Field: graphql.CollectedField{Field: &ast.Field{Name: "changePassword", Definition: &ast.FieldDefinition{}}},
	})
	person := viewer.Viewer{User: "usr_1", Session: "ses_1", Level: viewer.AAL1}
	machine := viewer.Viewer{User: "usr_1", Machine: "key_1", Scopes: []viewer.Scope{viewer.RunJobs}}
	confirmed := person
	confirmed.Verified = true
	for name, row := range map[string]struct {
		who      viewer.Viewer
		aal      *int
		verified *bool
		want     fault.Code
	}{
		"nobody":                         {viewer.Viewer{}, nil, nil, fault.Unauthenticated},
		"a suspended session":            {viewer.Viewer{Suspended: "ses_1"}, nil, nil, fault.StepUpRequired},
		"a person":                       {person, nil, nil, ""},
		"one whose address is confirmed": {confirmed, nil, &yes, ""},
		"one whose address is not":       {person, nil, &yes, fault.Forbidden},
		"a machine":                      {machine, nil, nil, fault.Forbidden},
		"a machine asked for a factor":   {machine, &second, nil, fault.Forbidden},
	} {
		entered := false
		_, err := (&Resolver{}).auth(viewer.With(mutation, row.who), nil, func(context.Context) (any, error) {
			entered = true
			return nil, nil
		}, row.aal, nil, row.verified)
		if row.want == "" && err != nil || row.want != "" && !fault.Is(err, row.want) || entered != (row.want == "") {
			t.Errorf("%s: %v, want %q; entered: %t", name, err, row.want, entered)
		}
	}
}
