package guard

import (
	"context"
	"errors"
	"fmt"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"gatehouse/internal/marshal"
)

// Executor runs operations of a schema, each after all checks. It is good for use by several goroutines.
type Executor struct {
	schema        graphql.ExecutableSchema
	options       Options
	limits        Limits
	estimate      estimate
	documents     *Documents
	persisted     *persisted
	introspection introspection
	rules         *rules.Rules
}

// New returns an executor of schema. The error names a bad option.
func New(schema graphql.ExecutableSchema, options Options) (*Executor, error) {
	options = options.withDefaults()
	e := &Executor{
		schema: schema, options: options, limits: options.Limits,
		documents:     NewDocuments(options.DocumentCacheBytes),
		introspection: introspection{options.Introspection},
		rules:         validationRules(options.Suggestions),
	}
	var err error
	if e.persisted, err = newPersisted(options.Persisted); err != nil {
		return nil, fmt.Errorf("make executor: %w", err)
	}
	if e.estimate, err = newEstimate(schema.Schema(), e.limits); err != nil {
		return nil, fmt.Errorf("make executor: %w", err)
	}
	return e, nil
}

// CreateOperationContext finds the operation that params ask for and checks that it may be executed.
// With an error the context is filled as far as the checks came.
func (e *Executor) CreateOperationContext(ctx context.Context, params *graphql.RawParams) (*graphql.OperationContext, gqlerror.List) {
	operation := &graphql.OperationContext{
		DisableIntrospection:   true,
		RecoverFunc:            e.options.Recover,
		ResolverMiddleware:     plainField,
		RootResolverMiddleware: plainRoot,
	}
	learn, refused := e.persisted.document(params)
	if refused != nil {
		return operation, gqlerror.List{refused}
	}
	operation.RawQuery, operation.OperationName = params.Query, params.OperationName
	operation.Extensions, operation.Headers = params.Extensions, params.Headers
	var errs gqlerror.List
	if operation.Doc, errs = e.document(params.Query); errs != nil {
		return operation, errs
	}
	if learn != "" {
		e.persisted.learned.Set(learn, &learned{params.Query})
	}
	if refused := e.choose(operation, params); refused != nil {
		return operation, gqlerror.List{refused}
	}
	if refused := e.estimate.check(operation.Operation, operation.Variables); refused != nil {
		return operation, gqlerror.List{refused}
	}
	if refused := e.introspection.check(ctx, operation); refused != nil {
		return operation, gqlerror.List{refused}
	}
	return operation, nil
}

func plainField(ctx context.Context, next graphql.Resolver) (any, error) { return next(ctx) }

func plainRoot(ctx context.Context, next graphql.RootResolver) graphql.Marshaler { return next(ctx) }

// afreshRoot runs one change of several in a context of its own, so that it reads what those before it have
// changed.
func (e *Executor) afreshRoot(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	return next(e.options.Around(ctx))
}

// document returns the parsed and validated document of text. One in the cache has passed all this before.
func (e *Executor) document(text string) (*ast.QueryDocument, gqlerror.List) {
	if known, ok := e.documents.get(text); ok {
		return known.document, nil
	}
	if len(text) > e.limits.Bytes {
		return nil, gqlerror.List{exceeded("bytes", e.limits.Bytes, float64(len(text)), "document", nil)}
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, e.limits.Tokens)
	if err != nil {
		return nil, gqlerror.List{parseError(err, e.limits)}
	}
	if len(document.Operations) == 0 {
		return nil, gqlerror.List{invalid(gqlerror.Errorf("no operation provided"))}
	}
	if refused := checkShape(document, e.limits); refused != nil {
		return nil, gqlerror.List{refused}
	}
	if errs := validator.ValidateWithRules(e.schema.Schema(), document, e.rules); len(errs) > 0 {
		for _, err := range errs {
			errcode.Set(err, errcode.ValidationFailed)
		}
		return nil, errs
	}
	e.documents.add(text, document)
	return document, nil
}

// choose finds the operation by its name, says how its fields run and reads its variables.
func (e *Executor) choose(operation *graphql.OperationContext, params *graphql.RawParams) *gqlerror.Error {
	operation.Operation = operation.Doc.Operations.ForName(params.OperationName)
	if operation.Operation == nil {
		return invalid(gqlerror.Errorf("operation %s not found", params.OperationName))
	}
	if operation.Operation.Operation == ast.Mutation {
		operation.RootResolverMiddleware = e.afreshRoot
	}
	if len(operation.Operation.VariableDefinitions) == 0 {
		return nil
	}
	variables, err := validator.VariableValues(e.schema.Schema(), operation.Operation, params.Variables)
	if err != nil {
		wrong, ok := errors.AsType[*gqlerror.Error](err)
		if !ok {
			wrong = gqlerror.Wrap(err)
		}
		return invalid(wrong)
	}
	operation.Variables = variables
	return nil
}

func invalid(err *gqlerror.Error) *gqlerror.Error {
	errcode.Set(err, errcode.ValidationFailed)
	return err
}

// DispatchOperation begins an operation that CreateOperationContext let pass. The handler gives one
// answer at a call, nil after the last.
func (e *Executor) DispatchOperation(ctx context.Context, operation *graphql.OperationContext) (graphql.ResponseHandler, context.Context) {
	ctx = graphql.WithOperationContext(ctx, operation)
	if known, ok := e.documents.get(operation.RawQuery); ok && known.document == operation.Doc {
		ctx = marshal.WithPlan(ctx, known.plan)
	}
	begin := ctx
	if operation.Operation.Operation == ast.Subscription { // only these resolve something before the first answer
		begin = graphql.WithResponseContext(ctx, e.options.Present, e.options.Recover)
	}
	answers := e.schema.Exec(begin)
	if begin != ctx {
		if errs := graphql.GetErrors(begin); errs != nil {
			return graphql.OneShot(&graphql.Response{Errors: errs}), ctx
		}
	}
	return func(ctx context.Context) *graphql.Response {
		if ctx.Err() != nil {
			return nil
		}
		ctx = e.options.Around(graphql.WithResponseContext(ctx, e.options.Present, e.options.Recover))
		answer := answers(ctx)
		if answer != nil {
			answer.Errors = append(answer.Errors, graphql.GetErrors(ctx)...)
		}
		return answer
	}, ctx
}

// PresentRecoveredError shows what was recovered from a panic as the answer to one inside a resolver.
func (e *Executor) PresentRecoveredError(ctx context.Context, cause any) error {
	return e.options.Present(ctx, e.options.Recover(ctx, cause))
}

// validationRules are the default rules; without suggestions those that suggest names are exchanged for
// those that do not.
func validationRules(suggestions bool) *rules.Rules {
	set := rules.NewDefaultRules()
	if suggestions {
		return set
	}
	for from, to := range map[string]core.Rule{
		rules.FieldsOnCorrectTypeRule.Name: rules.FieldsOnCorrectTypeRuleWithoutSuggestions,
		rules.ScalarLeafsRule.Name:         rules.ScalarLeafsRuleWithoutSuggestions,
		rules.KnownArgumentNamesRule.Name:  rules.KnownArgumentNamesRuleWithoutSuggestions,
		rules.KnownTypeNamesRule.Name:      rules.KnownTypeNamesRuleWithoutSuggestions,
		rules.ValuesOfCorrectTypeRule.Name: rules.ValuesOfCorrectTypeRuleWithoutSuggestions,
	} {
		set.RemoveRule(from)
		set.AddRule(to.Name, to.RuleFunc)
	}
	return set
}
