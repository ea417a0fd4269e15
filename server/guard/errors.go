package guard

import (
	"fmt"
	"math"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// The values of extensions.code this package sets.
const (
	CodeLimitExceeded     = "LIMIT_EXCEEDED"
	CodeBadInput          = "BAD_USER_INPUT"
	CodeForbidden         = "FORBIDDEN"
	CodeHashNotFound      = "PERSISTED_QUERY_NOT_FOUND"
	CodeHashNotSupported  = "PERSISTED_QUERY_NOT_SUPPORTED"
	CodeNotOnAllowList    = "PERSISTED_QUERY_NOT_IN_LIST"
	messageHashNotFound   = "PersistedQueryNotFound"     // Apollo's clients match the text
	messageHashNotEnabled = "PersistedQueryNotSupported" // the same
)

// exceeded explains a refusal: the limit's name, its most, what was seen (never below max+1) and where.
func exceeded(limit string, most int, seen float64, where string, at *ast.Position) *gqlerror.Error {
	count := int(math.Min(math.Max(math.Ceil(seen), float64(most)+1), math.MaxInt32))
	err := &gqlerror.Error{
		Message: fmt.Sprintf("The document exceeds the limit %q: %d of at most %d in %s.", limit, count, most, where),
		Extensions: map[string]any{
			"code": CodeLimitExceeded, "limit": limit, "max": most, "seen": count, "where": where,
		},
	}
	if at != nil && at.Line > 0 {
		err.Locations = []gqlerror.Location{{Line: at.Line, Column: at.Column}}
	}
	return err
}

// refusal is an error with a code and, when it is not "", a hint at what to do instead.
func refusal(code, message, hint string) *gqlerror.Error {
	extensions := map[string]any{"code": code}
	if hint != "" {
		extensions["hint"] = hint
	}
	return &gqlerror.Error{Message: message, Extensions: extensions}
}

// title names an operation for a person, "query Me" or "mutation".
func title(operation *ast.OperationDefinition) string {
	if operation.Name == "" {
		return string(operation.Operation)
	}
	return string(operation.Operation) + " " + operation.Name
}
