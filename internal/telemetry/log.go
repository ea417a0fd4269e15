// Package telemetry is how the program tells what it does: structured logs, figures for Prometheus,
// and the id that ties the lines of one request together.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// Format is the form of log lines.
type Format string

// The formats: for people and for machines.
const (
	Text Format = "text"
	JSON Format = "json"
)

// NewLogger returns a logger that writes lines of at least level to w and adds the request's id to
// those that have one in their context.
func NewLogger(w io.Writer, format Format, level slog.Level) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler
	switch format {
	case Text:
		h = slog.NewTextHandler(w, options)
	case JSON:
		h = slog.NewJSONHandler(w, options)
	default:
		return nil, fmt.Errorf("the log format is %q; write text or json", format)
	}
	return slog.New(tagging{h}), nil
}

// tagging adds the request's id to each record.
type tagging struct{ slog.Handler }

func (t tagging) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request", id))
	}
	return t.Handler.Handle(ctx, r)
}

func (t tagging) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tagging{t.Handler.WithAttrs(attrs)}
}

func (t tagging) WithGroup(name string) slog.Handler { return tagging{t.Handler.WithGroup(name)} }

// tagged is a context with the id of its request.
type tagged struct {
	context.Context
	id string
}

type requestKey struct{}

// Value implements context.Context.
func (t *tagged) Value(key any) any {
	if key == (requestKey{}) {
		return t
	}
	return t.Context.Value(key)
}

// WithRequestID returns ctx with the id of its request.
func WithRequestID(ctx context.Context, id string) context.Context { return &tagged{ctx, id} }

// RequestID returns the id of the request, "" outside of one.
func RequestID(ctx context.Context) string {
	if t, ok := ctx.Value(requestKey{}).(*tagged); ok {
		return t.id
	}
	return ""
}
