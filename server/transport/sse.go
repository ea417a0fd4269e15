package transport

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// stream is an open event stream.
type stream struct {
	cancel context.CancelFunc
	ended  chan gqlerror.List // takes one: why the server ends the stream, nil for a plain goodbye
}

func (s *stream) end(why gqlerror.List) {
	select {
	case s.ended <- why:
	default: // it is ending already
	}
}

func (s *stream) goodbye(after time.Duration) { time.AfterFunc(after, func() { s.end(nil) }) }

func (s *stream) cut() { s.cancel() }

// stream runs an operation as graphql-sse's distinct connections have it: an event "next" for each
// answer, then "complete". It ends early, after a last answer that says why, when the caller's token
// expires or its session is revoked.
func (e *exchange) stream(operation *graphql.OperationContext) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	s := &stream{cancel: cancel, ended: make(chan gqlerror.List, 1)}
	if !e.join(s) {
		return
	}
	defer e.h.live.leave(s)
	e.transport = "sse"
	stop := e.caller.watch(func(reason string) { s.end(unauthenticated(reason)) })
	defer stop()
	if e.kind == "subscription" {
		e.h.countSubscription(1)
		defer e.h.countSubscription(-1)
	}
	responses := make(chan *graphql.Response)
	go e.h.produce(ctx, operation, responses)
	w := newEventWriter(e)
	errs := e.relay(w, s, responses)
	w.event("complete", nil)
	cancel()
	for range responses { // the producer has seen the cancellation when it closes
	}
	e.observe(errs)
}

// relay writes answers and heartbeats until either side ends the stream. It returns the last errors sent.
func (e *exchange) relay(w *eventWriter, s *stream, responses <-chan *graphql.Response) gqlerror.List {
	heartbeat := time.NewTicker(e.h.options.Heartbeat)
	defer heartbeat.Stop()
	expired, stop := e.expiry()
	defer stop()
	var errs gqlerror.List
	for w.err == nil {
		select {
		case response, ok := <-responses:
			if !ok {
				return errs
			}
			w.response(response)
			errs = response.Errors
		case <-heartbeat.C:
			w.comment()
		case <-expired:
			s.end(unauthenticated("token expired"))
		case why := <-s.ended:
			if why != nil {
				w.response(&graphql.Response{Errors: e.h.identified(e.ctx, why)})
			}
			return why
		}
	}
	return errs
}

// expiry is a channel that delivers when the caller's token expires, if ever.
func (e *exchange) expiry() (<-chan time.Time, func()) {
	if e.caller.ExpiresAt.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(e.caller.ExpiresAt.Sub(e.h.options.Now()))
	return timer.C, func() { timer.Stop() }
}

// streamErrors reports a request that was not executed to a client that reads only events: as an answer
// of errors, then complete, so that its library can show them.
func (e *exchange) streamErrors(errs gqlerror.List) {
	e.transport = "sse"
	w := newEventWriter(e)
	w.response(&graphql.Response{Errors: e.h.identified(e.ctx, errs)})
	w.event("complete", nil)
	e.observe(errs)
}

func unauthenticated(reason string) gqlerror.List {
	if reason == codeStepUp {
		return gqlerror.List{requestError(codeStepUp, "This session was suspended.")}
	}
	return gqlerror.List{requestError(codeUnauthenticated, reason)}
}

// produce runs the operation and hands over its answers one by one, each taken before the next is
// asked for. An answer of a stream is copied: generated code writes the next into the same bytes. It
// closes the channel when there are no more, or ctx has ended.
func (h *Handler) produce(ctx context.Context, operation *graphql.OperationContext, to chan<- *graphql.Response) {
	defer close(to)
	offer := func(response *graphql.Response) bool {
		select {
		case to <- response:
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer func() {
		if cause := recover(); cause != nil {
			offer(&graphql.Response{Errors: h.recovered(ctx, cause)})
		}
	}()
	responses, ctx := h.exec.DispatchOperation(ctx, operation)
	for {
		response := responses(ctx)
		if response != nil && streams(operation) {
			response.Data = bytes.Clone(response.Data)
		}
		if response == nil || !offer(response) || !streams(operation) {
			return
		}
	}
}

// streams tells whether more than one answer may come.
func streams(operation *graphql.OperationContext) bool {
	return operation.Operation.Operation == "subscription"
}

// eventWriter writes server-sent events (HTML §9.2) and flushes each. After an error it writes no more.
type eventWriter struct {
	e          *exchange
	controller *http.ResponseController
	err        error
}

// newEventWriter sends the head and a first comment, which opens an EventSource, and lifts the server's
// time-outs: each write has its own, and the client has nothing left to send.
func newEventWriter(e *exchange) *eventWriter {
	w := &eventWriter{e: e, controller: http.NewResponseController(e.w)}
	header := e.w.Header()
	header["Content-Type"] = eventsType
	header["X-Content-Type-Options"] = noSniff
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	_ = w.controller.SetReadDeadline(time.Time{})
	e.answered = true
	e.w.WriteHeader(http.StatusOK)
	w.comment()
	return w
}

func (w *eventWriter) comment() { w.send([]byte(":\n\n")) }

func (w *eventWriter) response(response *graphql.Response) {
	buffer := borrow()
	defer giveBack(buffer)
	*buffer = appendResponse(*buffer, response, w.e.h.options.MaxErrors)
	w.event("next", *buffer)
}

// event writes data on lines of its own; an event without data has an empty one, since a browser
// drops an event that has none at all.
func (w *eventWriter) event(name string, data []byte) {
	buffer := borrow()
	defer giveBack(buffer)
	event := append(append(*buffer, "event: "...), name...)
	for line := range bytes.SplitSeq(data, []byte("\n")) { // JSON has line ends between its tokens only
		event = append(append(event, "\ndata: "...), line...)
	}
	*buffer = append(event, "\n\n"...)
	w.send(*buffer)
}

func (w *eventWriter) send(event []byte) {
	if w.err != nil {
		return
	}
	_ = w.controller.SetWriteDeadline(time.Now().Add(w.e.h.options.WriteTimeout))
	if _, w.err = w.e.w.Write(event); w.err == nil {
		w.err = w.controller.Flush()
	}
}
