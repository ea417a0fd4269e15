// Package transport serves a gqlgen executor over HTTP: the whole of /graphql as one [Handler].
//
// # Ways in
//
//   - POST with application/json, after the GraphQL-over-HTTP draft (post.go); GET for queries (get.go).
//   - POST with multipart/form-data, after the GraphQL multipart request specification: files are
//     streamed to a [Stage], never held in memory (multipart.go).
//   - WebSocket with graphql-transport-ws, or graphql-ws as subscriptions-transport-ws knew it (socket.go).
//   - Server-sent events, graphql-sse with distinct connections, by GET and POST (sse.go).
//
// # Bounds
//
// Bodies, messages, files, live operations, errors in an answer and every wait have a bound in
// [Options]. A slow reader is disconnected, nothing queues for it. GET and form requests need a header
// that a foreign page cannot set (preflight.go).
//
// # Answers
//
// The executor's bytes are written as they are. Errors of the request itself carry extensions.code and
// extensions.requestId; errors of resolvers are the business of the executor's error presenter.
//
// # Use
//
//	handler := transport.New(exec, transport.Options{Authenticator: sessions, Present: present})
//	mux.Handle("/graphql", handler)
//	// at shutdown, before http.Server.Shutdown, which does not know sockets:
//	err := handler.Drain(ctx)
package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Caller is who stands behind a request or a socket. The zero value is an anonymous caller.
type Caller struct {
	// Visitor attaches the caller to operations; nil leaves them without.
	Visitor Visitor
	// Subject names the caller, "" for an anonymous one. A fresh token on an open socket must keep it.
	Subject string
	// ExpiresAt ends sockets and streams; zero means never.
	ExpiresAt time.Time
}

// Visitor is a caller as operations and streams need it.
type Visitor interface {
	// Attach puts the caller into the context of an operation.
	Attach(ctx context.Context) context.Context
	// Watch calls ended, once and from any goroutine, when the session is revoked, until stop is called.
	Watch(ended func(reason string)) (stop func())
}

func (c Caller) attach(ctx context.Context) context.Context {
	if c.Visitor == nil {
		return ctx
	}
	return c.Visitor.Attach(ctx)
}

func (c Caller) watch(ended func(reason string)) (stop func()) {
	if c.Visitor == nil {
		return func() {}
	}
	return c.Visitor.Watch(ended)
}

// Authenticator finds the caller. An error is shown through Options.Present and refuses the request or socket.
type Authenticator interface {
	// Request reads the Authorization header or the cookies of an HTTP request.
	Request(r *http.Request) (Caller, error)
	// Socket takes the token of connection_init, "" when it brought none, and the handshake, of which
	// the URL, the address and the headers named in handshakeHeaders are left. It is called again with
	// each fresh token.
	Socket(r *http.Request, authorization string) (Caller, error)
}

// UploadedFile is one file of a multipart request, as the client describes it.
type UploadedFile struct {
	Name      string // without folders, at most 255 bytes, not to be trusted
	MediaType string // not to be trusted either
	Body      io.Reader
}

// Stage keeps uploaded files until their operation has run.
type Stage interface {
	// Stage stores one file and answers the value that stands in the variables in place of null; drop
	// removes the file again. After the operation drop is called unless the value has a method
	// Keep() bool that answers true: a resolver has claimed the file. The value must not be a pointer
	// (the executor dereferences a variable that is one); a struct that holds one is good.
	Stage(ctx context.Context, file UploadedFile) (value any, drop func(), err error)
}

// Finished describes an operation that has ended, for metrics and logs.
type Finished struct {
	Transport string // "http", "multipart", "sse" or "socket"
	Kind      string // "query", "mutation", "subscription", or "" when the request named none
	Name      string // the client's word: not bounded in number, so no label for a metric
	Took      time.Duration
	Codes     []string // extensions.code of the errors answered, at most Options.MaxErrors
}

// Observer hears what happens; each function may be nil and must not block.
type Observer struct {
	Finished      func(context.Context, Finished)
	Sockets       func(delta int) // sockets opened and closed
	Subscriptions func(delta int) // live subscriptions, over sockets and event streams
}

// Options of a Handler. The zero value is a working default without sign-in and uploads.
type Options struct {
	Authenticator Authenticator // nil: every caller is anonymous
	Stage         Stage         // nil: uploads are refused
	// Present shows an error of Authenticator and Stage to a client; nil masks it under code INTERNAL.
	Present func(context.Context, error) *gqlerror.Error
	// RequestID names the request in extensions.requestId of request errors; nil or "" leaves it out.
	RequestID func(context.Context) string
	Observer  Observer
	// Origins are the foreign origins that may open sockets and event streams, "https://app.example.com".
	// A page of the server's own origin, and a client that sends no Origin, always may.
	Origins []string
	Now     func() time.Time // nil: time.Now
	// Peer names whom the sockets and streams of a request are counted under, such as an IP address; ""
	// is not bounded. nil: nobody is.
	Peer func(r *http.Request) string

	MaxBodyBytes    int   // of a JSON body and of the operations part; 1 MiB
	MaxUploadBytes  int64 // of a whole multipart body; 2 GiB
	MaxFiles        int   // of a multipart request; 10
	MaxErrors       int   // in an answer; 10, the rest is counted in extensions.errorsOmitted
	MaxMessageBytes int   // of a message on a socket; 64 KiB
	MaxOperations   int   // live on one socket; 64
	MaxStreams      int   // open sockets and event streams; 50,000, and 503 beyond
	// MaxStreamsPerPeer bounds those of one Peer; 200, and 429 beyond.
	MaxStreamsPerPeer int
	MaxUploadTime     time.Duration // for a whole multipart body, at whatever pace; 1 h
	InitTimeout       time.Duration // from handshake to connection_init; 3 s
	PingEvery         time.Duration // on a socket; silence of two of these ends it; 25 s
	WriteTimeout      time.Duration // for one message to a slow client; 10 s
	Heartbeat         time.Duration // comments on an idle event stream; 12 s
	DrainJitter       time.Duration // over which Drain spreads the goodbyes; 5 s
}

func (o Options) withDefaults() Options {
	defaultTo(&o.MaxBodyBytes, 1<<20)
	defaultTo(&o.MaxUploadBytes, 2<<30)
	defaultTo(&o.MaxFiles, 10)
	defaultTo(&o.MaxErrors, 10)
	defaultTo(&o.MaxMessageBytes, 64<<10)
	defaultTo(&o.MaxOperations, 64)
	defaultTo(&o.MaxStreams, 50_000)
	defaultTo(&o.MaxStreamsPerPeer, 200)
	defaultTo(&o.MaxUploadTime, time.Hour)
	defaultTo(&o.InitTimeout, 3*time.Second)
	defaultTo(&o.PingEvery, 25*time.Second)
	defaultTo(&o.WriteTimeout, 10*time.Second)
	defaultTo(&o.Heartbeat, 12*time.Second)
	defaultTo(&o.DrainJitter, 5*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Present == nil {
		o.Present = func(context.Context, error) *gqlerror.Error {
			return requestError(codeInternal, "Something went wrong on our side.")
		}
	}
	if o.RequestID == nil {
		o.RequestID = func(context.Context) string { return "" }
	}
	return o
}

func defaultTo[T int | int64 | time.Duration](value *T, fallback T) {
	if *value <= 0 {
		*value = fallback
	}
}

// Executor checks operations and runs them, as gqlgen's own does.
type Executor interface {
	CreateOperationContext(ctx context.Context, params *graphql.RawParams) (*graphql.OperationContext, gqlerror.List)
	DispatchOperation(ctx context.Context, operation *graphql.OperationContext) (graphql.ResponseHandler, context.Context)
	PresentRecoveredError(ctx context.Context, cause any) error
}

// Handler serves /graphql. It is good for use by several goroutines.
type Handler struct {
	exec    Executor
	options Options
	live    register
}

// New returns a handler over exec, which the caller has given its guards, presenters and extensions.
func New(exec Executor, options Options) *Handler {
	return &Handler{exec: exec, options: options.withDefaults()}
}

// ServeHTTP answers one request, or takes its connection over for a socket.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if upgrades(r) {
		h.serveSocket(w, r)
		return
	}
	e := &exchange{h: h, w: w, r: r, ctx: r.Context(), started: h.options.Now(), transport: "http"}
	e.accept = negotiate(r.Header["Accept"])
	defer e.recover()
	switch r.Method {
	case http.MethodPost:
		e.post()
	case http.MethodGet:
		e.get()
	default:
		e.fail(&failure{
			status: http.StatusMethodNotAllowed, allow: "GET, POST",
			errs: badRequest("GraphQL is served by GET and POST."),
		})
	}
}

// exchange is one HTTP request and its answer.
type exchange struct {
	h         *Handler
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context // gains the viewer and the operation on the way
	accept    acceptance
	caller    Caller
	started   time.Time
	transport string
	kind      string
	name      string
	answered  bool
}

// recover answers a panic outside resolvers as the executor answers one inside. The server's own
// signal to drop the connection is passed on.
func (e *exchange) recover() {
	cause := recover()
	if cause == nil {
		return
	}
	if err, ok := cause.(error); (ok && errors.Is(err, http.ErrAbortHandler)) || e.answered {
		panic(cause)
	}
	e.fail(&failure{status: http.StatusInternalServerError, errs: e.h.recovered(e.ctx, cause)})
}

// recovered shows a panic by the executor's recover function and error presenter.
func (h *Handler) recovered(ctx context.Context, cause any) gqlerror.List {
	var shown *gqlerror.Error
	if !errors.As(h.exec.PresentRecoveredError(ctx, cause), &shown) || shown == nil {
		shown = requestError(codeInternal, "Something went wrong on our side.")
	}
	return gqlerror.List{shown}
}

// authenticate finds the caller and puts the viewer into the context.
func (e *exchange) authenticate() *failure {
	if authenticator := e.h.options.Authenticator; authenticator != nil {
		caller, err := authenticator.Request(e.r)
		if err != nil {
			return e.h.presented(e.ctx, err)
		}
		e.caller = caller
	}
	e.ctx = e.caller.attach(e.r.Context())
	return nil
}

// moment is how long a body may take to come before its caller must be found once more.
const moment = 250 * time.Millisecond

// authenticateAgain finds the caller once more when the body has taken its time: a session that was
// revoked meanwhile, or a role that was taken away, opens nothing to whoever holds a body back.
func (e *exchange) authenticateAgain() *failure {
	if e.h.options.Now().Sub(e.started) < moment {
		return nil
	}
	return e.authenticate()
}

// run executes the request and answers it.
func (e *exchange) run(params *graphql.RawParams, queriesOnly bool) {
	operation, errs := e.h.prepare(e.ctx, params)
	if operation != nil && operation.Operation != nil {
		e.kind, e.name = string(operation.Operation.Operation), operation.Operation.Name
	}
	switch {
	case errs != nil && e.accept.streamOnly():
		e.streamErrors(errs)
	case errs != nil:
		e.fail(&failure{status: e.accept.statusOf(errs), errs: errs})
	case queriesOnly && e.kind == "mutation":
		e.fail(&failure{status: http.StatusMethodNotAllowed, allow: "POST", errs: badRequest("A mutation needs POST.")})
	case e.kind == "subscription" && !e.accept.stream:
		e.fail(&failure{status: http.StatusNotAcceptable, errs: badRequest("A subscription needs a WebSocket, or Accept: text/event-stream.")})
	case e.kind == "subscription" || e.accept.streamOnly():
		e.stream(operation)
	default:
		responses, ctx := e.h.exec.DispatchOperation(e.ctx, operation)
		e.answer(responses(ctx))
	}
}

// observe reports the exchange with the errors it answered.
func (e *exchange) observe(errs gqlerror.List) {
	e.h.observe(e.ctx, Finished{Transport: e.transport, Kind: e.kind, Name: e.name, Codes: codesOf(errs)}, e.started)
}

func (h *Handler) observe(ctx context.Context, finished Finished, started time.Time) {
	if report := h.options.Observer.Finished; report != nil {
		finished.Took = h.options.Now().Sub(started)
		report(ctx, finished)
	}
}

func (h *Handler) countSocket(delta int) {
	if count := h.options.Observer.Sockets; count != nil {
		count(delta)
	}
}

func (h *Handler) countSubscription(delta int) {
	if count := h.options.Observer.Subscriptions; count != nil {
		count(delta)
	}
}
