package resolvers

import (
	"context"
	"errors"
	"log/slog"
	"math"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"gatehouse/graph"
	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
)

// noErrors is the userErrors of a success: never null.
func noErrors() []*graph.UserError { return []*graph.UserError{} }

// userErrors splits err: what a person can mend is data, anything else stays an error.
func userErrors(err error) ([]*graph.UserError, error) {
	if err == nil {
		return noErrors(), nil
	}
	f, ok := fault.As(err)
	if !ok || !f.Mendable() {
		return noErrors(), err
	}
	return []*graph.UserError{{Code: f.Code, Field: f.Field, Message: f.Message}}, nil
}

// Presenter turns the errors of resolvers into what a client sees: a fault keeps its words, all else
// is logged and becomes INTERNAL.
type Presenter struct {
	Logger    *slog.Logger
	RequestID func(context.Context) string
	Hints     bool // for developers; off in production
}

// Present is the executor's error presenter.
func (p Presenter) Present(ctx context.Context, err error) *gqlerror.Error {
	var known *gqlerror.Error
	if errors.As(err, &known) && known.Extensions["code"] != nil {
		return p.sign(ctx, known) // made at the edge, code and all
	}
	shown := graphql.DefaultErrorPresenter(ctx, err)
	f := p.faultOf(ctx, err)
	shown.Message = f.Message
	shown.Extensions = map[string]any{"code": string(f.Code)}
	if f.RetryAfter > 0 {
		shown.Extensions["retryAfter"] = int(math.Ceil(f.RetryAfter.Seconds()))
	}
	if f.Hint != "" && p.Hints {
		shown.Extensions["hint"] = f.Hint
	}
	return p.sign(ctx, shown)
}

// sign adds the request's id, by which the log can be searched.
func (p Presenter) sign(ctx context.Context, e *gqlerror.Error) *gqlerror.Error {
	id := p.RequestID(ctx)
	if id == "" || e.Extensions["requestId"] != nil {
		return e
	}
	if e.Extensions == nil {
		e.Extensions = map[string]any{}
	}
	e.Extensions["requestId"] = id
	return e
}

// faultOf returns the words for err. What has none is a matter for the operator.
func (p Presenter) faultOf(ctx context.Context, err error) *fault.Fault {
	if f, ok := fault.As(err); ok {
		if f.Cause != nil {
			p.Logger.Log(ctx, levelOf(f.Code), "request refused", "code", f.Code, "error", f.Cause)
		}
		return f
	}
	var input *gqlerror.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Unavailable, "", "The request was given up.")
	case errors.Is(err, context.DeadlineExceeded), store.Lost(err):
		p.Logger.ErrorContext(ctx, "database out of reach", "error", err)
		return &fault.Fault{Code: fault.Unavailable, Message: "The server cannot reach its database. Try again in a moment.", RetryAfter: retrySoon}
	case store.Full(err), errors.Is(err, blob.ErrStorage):
		p.Logger.ErrorContext(ctx, "storage refused", "error", err)
		return fault.New(fault.Unavailable, "", "The server has no room left to store this.")
	case store.Unfit(err):
		return fault.New(fault.BadUserInput, "", "A text holds a character that cannot be stored.")
	case errors.As(err, &input) && input.Err == nil: // gqlgen's own words about an argument
		return fault.New(fault.BadUserInput, "", input.Message)
	}
	p.Logger.ErrorContext(ctx, "request failed", "error", err)
	return fault.New(fault.Internal, "", "Something went wrong on the server. The log knows more under this request id.")
}

// levelOf says how loud a refusal is. A bad token is everyday life, and whoever sends many must not fill
// the log: the metrics count them.
func levelOf(code fault.Code) slog.Level {
	if code == fault.Unauthenticated {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Recover turns a panic of a resolver into an error; gqlgen calls it.
func (p Presenter) Recover(ctx context.Context, panicked any) error {
	p.Logger.ErrorContext(ctx, "resolver panicked", "panic", panicked, "stack", stack())
	return fault.New(fault.Internal, "", "Something went wrong on the server. The log knows more under this request id.")
}
