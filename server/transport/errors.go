package transport

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Values of extensions.code.
const (
	codeBadInput        = "BAD_USER_INPUT"
	codeLimitExceeded   = "LIMIT_EXCEEDED"
	codeUnauthenticated = "UNAUTHENTICATED"
	codeForbidden       = "FORBIDDEN"
	codeRateLimited     = "RATE_LIMITED"
	codeStepUp          = "STEP_UP_REQUIRED" // also the reason of a session that was suspended
	codeInternal        = "INTERNAL"
)

// maxErrorText bounds the message of a request error, in bytes: it may quote the request.
const maxErrorText = 600

// failure is a request that was not executed.
type failure struct {
	status int
	errs   gqlerror.List
	allow  string // the Allow header of a 405
	close  bool   // the body was left unread, so the connection cannot serve another request
}

func requestError(code, message string) *gqlerror.Error {
	return &gqlerror.Error{Message: message, Extensions: map[string]any{"code": code}}
}

func badRequest(format string, args ...any) gqlerror.List {
	return gqlerror.List{requestError(codeBadInput, fmt.Sprintf(format, args...))}
}

func refused(status int, format string, args ...any) *failure {
	return &failure{status: status, errs: badRequest(format, args...)}
}

// limited is a refusal by a limit, in the shape all limits share.
func limited(limit string, most, seen int64, where string) *gqlerror.Error {
	return &gqlerror.Error{
		Message: fmt.Sprintf("The request exceeds the limit %q: %d of at most %d in %s.", limit, seen, most, where),
		Extensions: map[string]any{
			"code": codeLimitExceeded, "limit": limit, "max": most, "seen": seen, "where": where,
		},
	}
}

// presented is an error of the authenticator or the stage, shown as Options.Present will have it.
func (h *Handler) presented(ctx context.Context, err error) *failure {
	shown := h.options.Present(ctx, err)
	status := http.StatusBadRequest
	switch code(shown) {
	case codeUnauthenticated:
		status = http.StatusUnauthorized
	case codeForbidden:
		status = http.StatusForbidden
	case codeRateLimited:
		status = http.StatusTooManyRequests
	case codeInternal, "":
		status = http.StatusInternalServerError
	}
	return &failure{status: status, errs: gqlerror.List{shown}}
}

func code(err *gqlerror.Error) string {
	text, _ := err.Extensions["code"].(string)
	return text
}

func codesOf(errs gqlerror.List) []string {
	if len(errs) == 0 {
		return nil
	}
	codes := make([]string, len(errs))
	for i, err := range errs {
		codes[i] = code(err)
	}
	return codes
}

// prepare parses, validates and guards an operation. Its errors are the request's own and are shown as they are.
func (h *Handler) prepare(ctx context.Context, params *graphql.RawParams) (*graphql.OperationContext, gqlerror.List) {
	operation, errs := h.exec.CreateOperationContext(ctx, params)
	for _, err := range errs {
		explain(err, operation)
	}
	return operation, errs
}

// explain turns the executor's error into one of this API: our codes, a bounded text, and a variable
// named together with its operation.
func explain(err *gqlerror.Error, operation *graphql.OperationContext) {
	if err.Extensions == nil {
		err.Extensions = make(map[string]any, 2)
	}
	switch err.Extensions["code"] {
	case nil, errcode.ParseFailed, errcode.ValidationFailed:
		err.Extensions["code"] = codeBadInput
	}
	if operation != nil && operation.Operation != nil {
		explainVariable(err, operation.Operation)
	} else if operation != nil && operation.Doc != nil {
		err.Message = missingOperation(operation.OperationName)
	}
	err.Message = shortened(err.Message, maxErrorText)
}

func missingOperation(name string) string {
	if name == "" {
		return "The document has several operations: name one in operationName."
	}
	return fmt.Sprintf("The document has no operation %q.", name)
}

// explainVariable moves the path of a variable, which is no path of the answer, into the text and the extensions.
func explainVariable(err *gqlerror.Error, operation *ast.OperationDefinition) {
	if len(err.Path) < 2 || err.Path[0] != ast.PathName("variable") {
		return
	}
	variable := strings.TrimPrefix(err.Path[1:].String(), ".")
	where := string(operation.Operation)
	if operation.Name != "" {
		where += " " + operation.Name
		err.Extensions["operation"] = operation.Name
	}
	err.Message = fmt.Sprintf("Variable $%s of %s: %s.", variable, where, strings.TrimSuffix(err.Message, "."))
	err.Extensions["variable"] = variable
	err.Path = nil
}

// shortened cuts text to at most n bytes, between characters.
func shortened(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}

// identified gives request errors the request's id.
func (h *Handler) identified(ctx context.Context, errs gqlerror.List) gqlerror.List {
	id := h.options.RequestID(ctx)
	if id == "" {
		return errs
	}
	for _, err := range errs {
		if err.Extensions == nil {
			err.Extensions = make(map[string]any, 1)
		}
		err.Extensions["requestId"] = id
	}
	return errs
}
