package schema

import (
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

func load(t *testing.T) *ast.Schema {
	t.Helper()
	s, err := gqlparser.LoadSchema(&ast.Source{Name: "schema", Input: SDL()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ours are the definitions that stand in our files.
func ours(s *ast.Schema) []*ast.Definition {
	var all []*ast.Definition
	for _, d := range s.Types {
		if !d.BuiltIn {
			all = append(all, d)
		}
	}
	return all
}

func TestEveryNameIsDescribedInWholeSentences(t *testing.T) {
	s := load(t)
	check := func(name, description string) {
		if !strings.HasSuffix(description, ".") {
			t.Errorf("%s is described as %q; write a sentence", name, description)
		}
	}
	for _, d := range ours(s) {
		check(d.Name, d.Description)
		for _, f := range d.Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			check(d.Name+"."+f.Name, f.Description)
			for _, a := range f.Arguments {
				check(d.Name+"."+f.Name+"("+a.Name+")", a.Description)
			}
		}
		for _, v := range d.EnumValues {
			check(d.Name+"."+v.Name, v.Description)
		}
	}
	for _, d := range s.Directives {
		if d.Position.Src.BuiltIn {
			continue
		}
		check("@"+d.Name, d.Description)
		for _, a := range d.Arguments {
			check("@"+d.Name+"("+a.Name+")", a.Description)
		}
	}
}

func roots(s *ast.Schema) []*ast.FieldDefinition {
	var all []*ast.FieldDefinition
	for _, d := range []*ast.Definition{s.Query, s.Mutation, s.Subscription} {
		for _, f := range d.Fields {
			if !strings.HasPrefix(f.Name, "__") {
				all = append(all, f)
			}
		}
	}
	return all
}

func TestEveryRootFieldSaysWhoMayUseIt(t *testing.T) {
	for _, f := range roots(load(t)) {
		public, auth := f.Directives.ForName("public") != nil, f.Directives.ForName("auth") != nil
		if public == auth {
			t.Errorf("%s must be either @public or @auth", f.Name)
		}
		if public && (f.Directives.ForName("hasRole") != nil || f.Directives.ForName("hasScope") != nil) {
			t.Errorf("%s is @public and asks for more", f.Name)
		}
	}
}

// open lists what strangers may use; a name more is a decision.
var open = []string{
	"cancelAccountDeletion", "completeOAuth", "confirmEmailChange", "confirmPhone", "confirmTotp", "enrollPhone",
	"enrollTotp", "finishPasskeyLogin", "finishPasskeyRegistration", "jobKinds", "login", "loginWithCode", "me",
	"oauthProviders", "refreshSession", "register", "reportNotMe", "requestEmailVerification", "requestLoginCode",
	"requestPasswordReset", "resetPassword", "sendMfaCode", "startOAuth", "startPasskeyLogin",
	"startPasskeyRegistration", "stepUp", "undoEmailChange", "verifyEmail", "verifyMfa", "version",
}

func TestStrangersMayUseTheseFieldsAndNoOther(t *testing.T) {
	var public []string
	for _, f := range roots(load(t)) {
		if f.Directives.ForName("public") != nil {
			public = append(public, f.Name)
		}
	}
	slices.Sort(public)
	if !slices.Equal(public, open) {
		t.Errorf("@public are %v, want %v", public, open)
	}
}

func TestMutationsTakeOneInputAndReturnTheirOwnPayload(t *testing.T) {
	s := load(t)
	for _, f := range s.Mutation.Fields {
		title := strings.ToUpper(f.Name[:1]) + f.Name[1:]
		if len(f.Arguments) > 1 || len(f.Arguments) == 1 && (f.Arguments[0].Name != "input" || f.Arguments[0].Type.Name() != title+"Input") {
			t.Errorf("%s takes something else than one input: %sInput", f.Name, title)
		}
		if f.Type.String() != title+"Payload!" {
			t.Errorf("%s returns %s, want %sPayload!", f.Name, f.Type, title)
			continue
		}
		for _, p := range s.Types[f.Type.Name()].Fields {
			switch {
			case p.Name == "userErrors":
				if p.Type.String() != "[UserError!]!" {
					t.Errorf("%s.userErrors is %s", f.Type.Name(), p.Type)
				}
			case p.Type.NonNull:
				t.Errorf("%s.%s is %s; payload fields are null when refused", f.Type.Name(), p.Name, p.Type)
			}
		}
		if s.Types[f.Type.Name()].Fields.ForName("userErrors") == nil {
			t.Errorf("%s has no userErrors", f.Type.Name())
		}
	}
}
