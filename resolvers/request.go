package resolvers

import (
	"context"
	"runtime/debug"
	"time"

	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// retrySoon is the advice when a part of the server is away.
const retrySoon = 2 * time.Second

// Request is what the edge knows of the HTTP request behind an operation.
type Request struct {
	Origin session.Origin
	// Cookies is how tokens travel in cookie mode; nil when the caller keeps its tokens itself.
	Cookies Cookies

	entered viewer.SessionID // the session that this very request began
}

// Cookies keeps a session's tokens in the browser.
type Cookies interface {
	Refresh() string // the refresh token that came with the request, "" when none did
	Device() string  // the token of a trusted device, "" when none came
	Set(session.Tokens)
	SetDevice(token string, until time.Time)
	Clear()

	Browser() string   // what binds sign-ins through a provider to this browser, "" when nothing came
	SetBrowser(string) // for as long as such a sign-in may take
}

// operation is a context with the viewer and the request of an operation.
type operation struct {
	viewer.Context
	request *Request
}

type requestKey struct{}

// Value implements context.Context.
func (o *operation) Value(key any) any {
	if key == (requestKey{}) {
		return o.request
	}
	return o.Context.Value(key)
}

// WithCaller returns ctx with the viewer v and its request.
func WithCaller(ctx context.Context, v viewer.Viewer, r *Request) context.Context {
	return &operation{viewer.Context{Context: ctx, Viewer: v}, r}
}

// requestOf returns what is known of the request; never nil.
func requestOf(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return &Request{}
}

func stack() string { return string(debug.Stack()) }
