package transport

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/gobwas/ws"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"gatehouse/internal/feed"
)

// running is an operation of a socket, from its subscribe message to its complete.
type running struct {
	socket   *socket
	id       string
	ctx      context.Context // ended by the client's complete and with the socket
	cancel   context.CancelFunc
	finished Finished
	started  time.Time
	offer    feed.Offer // to the source of a subscription, to call Ready

	turn      sync.Mutex              // held by who prepares the operation, or sends an answer
	responses graphql.ResponseHandler // of a live subscription
}

// start prepares the operation and runs it; a subscription is left to its source, if that can call, or
// to a goroutine of its own with a small stack: this one needs a deep stack once.
func (op *running) start(params *graphql.RawParams) {
	op.turn.Lock()
	defer op.turn.Unlock()
	defer func() {
		if cause := recover(); cause != nil {
			op.fail(op.socket.h.recovered(op.ctx, cause))
		}
		if op.responses == nil {
			op.leave()
		}
	}()
	operation, errs := op.socket.h.prepare(op.ctx, params)
	if operation != nil && operation.Operation != nil {
		op.finished.Kind, op.finished.Name = string(operation.Operation.Operation), operation.Operation.Name
	}
	switch {
	case errs != nil:
		op.fail(op.socket.h.identified(op.ctx, errs))
	case streams(operation):
		responses, ctx := op.socket.h.exec.DispatchOperation(feed.With(op.ctx, &op.offer), operation)
		op.live(ctx, responses)
	default:
		responses, ctx := op.socket.h.exec.DispatchOperation(op.ctx, operation)
		if response := responses(ctx); response != nil {
			op.next(response)
		}
		op.complete()
	}
}

// live leaves the subscription to whoever brings its answers. turn is held.
func (op *running) live(ctx context.Context, responses graphql.ResponseHandler) {
	op.ctx, op.responses = ctx, responses
	op.socket.h.countSubscription(1)
	if !op.offer.Accepted() {
		go op.stream()
	}
}

// stream waits for each answer and sends it before it asks for the next, so that the source can put
// changes together.
func (op *running) stream() {
	op.turn.Lock()
	defer op.turn.Unlock()
	for op.carry(false) {
	}
}

// Ready sends the answer that the source has made, in the source's goroutine. It implements
// feed.Reader.
func (op *running) Ready(closed bool) {
	op.turn.Lock()
	defer op.turn.Unlock()
	op.carry(closed)
}

// carry sends the next answer, with the end of the operation when it is the last; false when none comes
// any more. turn is held.
func (op *running) carry(last bool) (more bool) {
	if op.responses == nil {
		return false
	}
	defer func() {
		if cause := recover(); cause != nil {
			op.fail(op.socket.h.recovered(op.ctx, cause))
			more = false
		}
		if !more {
			op.responses = nil
			op.socket.h.countSubscription(-1)
			op.leave()
		}
	}()
	response := op.responses(op.ctx)
	switch {
	case response == nil:
		op.complete()
		return false
	case last:
		op.last(response)
		return false
	}
	return op.next(response)
}

// next sends an answer; false when nobody wants more.
func (op *running) next(response *graphql.Response) bool {
	if op.ctx.Err() != nil {
		return false
	}
	buffer := borrow()
	defer giveBack(buffer)
	*buffer = op.appendNext((*buffer)[:frameRoom], response)
	return op.socket.write(ws.OpText, *buffer) == nil
}

// last sends an answer and the end of the operation with one write.
func (op *running) last(response *graphql.Response) {
	if op.ctx.Err() != nil {
		return
	}
	buffer := borrow()
	defer giveBack(buffer)
	*buffer = op.appendNext((*buffer)[:frameRoom], response)
	frames := frame(ws.OpText, *buffer)
	if op.forget() {
		frames = append(frames, frame(ws.OpText, encode(message{ID: op.id, Type: typeComplete}))...)
	}
	_ = op.socket.writeFrames(frames)
}

func (op *running) appendNext(to []byte, response *graphql.Response) []byte {
	_, _, next := op.socket.dialect.names()
	op.finished.Codes = codesOf(response.Errors)
	to = appendHead(to, op.id, next)
	return append(appendResponse(to, response, op.socket.h.options.MaxErrors), '}')
}

// fail ends the operation with an error message, after which no complete is sent.
func (op *running) fail(errs gqlerror.List) {
	errs = errs[:min(len(errs), op.socket.h.options.MaxErrors)]
	op.finished.Codes = codesOf(errs)
	if op.forget() {
		op.socket.sendErrors(op.id, errs)
	}
}

func (op *running) complete() {
	if op.ctx.Err() == nil && op.forget() {
		op.socket.send(message{ID: op.id, Type: typeComplete})
	}
}

// forget frees the id for another operation; false when the client has freed it already.
func (op *running) forget() bool {
	s := op.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.operations, op)
	if at < 0 {
		return false
	}
	s.operations = slices.Delete(s.operations, at, at+1)
	return true
}

// leave is the last thing an operation does.
func (op *running) leave() {
	op.forget()
	op.cancel()
	op.socket.h.observe(op.ctx, op.finished, op.started)
	op.socket.work.Done()
}

// appendHead appends a message up to its payload.
func appendHead(to []byte, id, kind string) []byte {
	quoted, _ := json.Marshal(id)
	to = append(append(to, `{"id":`...), quoted...)
	to = append(append(to, `,"type":"`...), kind...)
	return append(to, `","payload":`...)
}
