package transport

import (
	"context"
	"encoding/json"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/gobwas/ws"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// running is an operation of a socket, from its subscribe message to its complete.
type running struct {
	socket   *socket
	id       string
	ctx      context.Context // ended by the client's complete and with the socket
	cancel   context.CancelFunc
	finished Finished
	started  time.Time
}

// handle takes one message of the client and says when the socket must end.
func (s *socket) handle(text []byte) *closing {
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return ending(closeInvalidMessage, "Invalid message: not a JSON object with a type")
	}
	switch m.Type {
	case typeInit:
		return s.initialise(m)
	case s.dialect.subscribe:
		return s.subscribe(m)
	case s.dialect.stop:
		return s.complete(m)
	}
	switch {
	case m.Type == typePing && !s.dialect.legacy:
		return s.ping(m)
	case m.Type == typePong && !s.dialect.legacy:
		return nil
	case m.Type == typeLegacyTerminate && s.dialect.legacy:
		return ending(closeNormal, "")
	}
	return ending(closeInvalidMessage, "Invalid message type "+shortened(m.Type, 60))
}

// initialise admits the caller. A second connection_init is an error in graphql-transport-ws, and the
// way to bring a fresh token in the legacy protocol.
func (s *socket) initialise(m message) *closing {
	if len(m.Payload) > 0 && !isObject(m.Payload) && string(m.Payload) != "null" {
		return ending(closeInvalidMessage, "Invalid message: payload must be an object")
	}
	switch again := s.isAdmitted(); {
	case again && !s.dialect.legacy:
		return ending(closeTooManyInits, "Too many initialisation requests")
	case again:
		if c := s.renew(tokenIn(m.Payload)); c != nil {
			return c
		}
	default:
		caller, shown := s.authorize(tokenIn(m.Payload))
		if shown != nil {
			return s.refuseInit(shown)
		}
		s.admit(caller)
	}
	s.send(message{Type: typeAck})
	if s.dialect.legacy {
		s.send(message{Type: typeLegacyKeepAlive})
	}
	return nil
}

func (s *socket) isAdmitted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admitted
}

// authorize asks the authenticator; shown is its error as a client may see it.
func (s *socket) authorize(token string) (caller Caller, shown *gqlerror.Error) {
	authenticator := s.h.options.Authenticator
	if authenticator == nil {
		return Caller{}, nil
	}
	ctx, cancel := context.WithTimeout(s.base, authorizeTimeout)
	defer cancel()
	caller, err := authenticator.Socket(s.handshake.WithContext(ctx), token)
	if err != nil {
		return Caller{}, s.h.options.Present(s.base, err)
	}
	return caller, nil
}

func (s *socket) refuseInit(shown *gqlerror.Error) *closing {
	if s.dialect.legacy {
		payload, _ := json.Marshal(shown)
		s.send(message{Type: typeLegacyInitError, Payload: payload})
	}
	return ending(closeForbidden, shown.Message)
}

// admit makes caller the one on whose behalf later operations run. Running streams keep their viewer.
func (s *socket) admit(caller Caller) {
	stop := caller.watch(func(reason string) {
		go s.end(ended(reason)) // the watcher is not to wait for a slow client
	})
	s.mu.Lock()
	previous := s.stopWatch
	s.admitted, s.caller, s.stopWatch = true, caller, stop
	s.viewer = caller.attach(s.base)
	s.alarm.init = time.Time{}
	s.alarm.set(&s.alarm.expiry, caller.ExpiresAt, s.h.options.Now())
	s.mu.Unlock()
	previous()
}

// renew takes a fresh token of the same subject.
func (s *socket) renew(token string) *closing {
	caller, shown := s.authorize(token)
	if shown != nil {
		return ending(closeForbidden, shown.Message)
	}
	s.mu.Lock()
	same := caller.Subject == s.caller.Subject
	s.mu.Unlock()
	if !same {
		return ending(closeForbidden, "The fresh token is another account's")
	}
	s.admit(caller)
	return nil
}

// ping is answered by pong. One that brings a fresh token is answered with how long it holds.
func (s *socket) ping(m message) *closing {
	token := tokenIn(m.Payload)
	if token == "" || !s.isAdmitted() {
		s.send(message{Type: typePong})
		return nil
	}
	if c := s.renew(token); c != nil {
		return c
	}
	s.mu.Lock()
	expires := s.caller.ExpiresAt
	s.mu.Unlock()
	answer := struct {
		Authorized bool       `json:"authorized"`
		ExpiresAt  *time.Time `json:"expiresAt"`
	}{Authorized: true}
	if !expires.IsZero() {
		answer.ExpiresAt = new(expires.UTC())
	}
	payload, _ := json.Marshal(answer)
	s.send(message{Type: typePong, Payload: payload})
	return nil
}

func (s *socket) subscribe(m message) *closing {
	switch {
	case !s.isAdmitted():
		return ending(closeUnauthorized, "Unauthorized")
	case m.ID == "" || len(m.ID) > maxOperationID:
		return ending(closeInvalidMessage, "Invalid message: id must be a string of 1 to 255 bytes")
	case !isObject(m.Payload):
		return ending(closeInvalidMessage, "Invalid message: payload must be an object")
	}
	var request envelope
	if err := json.Unmarshal(m.Payload, &request); err != nil {
		return ending(closeInvalidMessage, "Invalid message: "+shapeProblem(err))
	}
	params, errs := request.params()
	if errs != nil {
		return ending(closeInvalidMessage, "Invalid message: "+errs[0].Message)
	}
	op, c := s.enter(m.ID)
	if c != nil {
		return c
	}
	if op == nil {
		most := int64(s.h.options.MaxOperations)
		s.sendErrors(m.ID, s.h.identified(s.base, gqlerror.List{limited("operations", most, most+1, "socket")}))
		return nil
	}
	params.Headers = s.handshake.Header
	s.work.Add(1)
	go op.start(params)
	return nil
}

// enter registers an operation; nil when the socket has as many as it may.
func (s *socket) enter(id string) (*running, *closing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operations[id] != nil {
		return nil, ending(closeDuplicateID, "Subscriber for "+shortened(id, 60)+" already exists")
	}
	if len(s.operations) >= s.h.options.MaxOperations {
		return nil, nil
	}
	op := &running{socket: s, id: id, started: s.h.options.Now(), finished: Finished{Transport: "socket"}}
	op.ctx, op.cancel = context.WithCancel(s.viewer)
	s.operations[id] = op
	return op, nil
}

// complete stops an operation at the client's wish. One that is not there has ended just now.
func (s *socket) complete(m message) *closing {
	s.mu.Lock()
	op := s.operations[m.ID]
	delete(s.operations, m.ID)
	s.mu.Unlock()
	if op != nil {
		op.cancel()
	}
	return nil
}

// start prepares the operation. The work needs a deep stack once, so a stream goes on in a goroutine of
// its own with a small one.
func (op *running) start(params *graphql.RawParams) {
	live := false
	defer func() {
		if cause := recover(); cause != nil {
			op.fail(op.socket.h.recovered(op.ctx, cause))
		}
		if !live {
			op.leave()
		}
	}()
	ctx := graphql.StartOperationTrace(op.ctx)
	operation, errs := op.socket.h.prepare(ctx, params)
	if operation != nil && operation.Operation != nil {
		op.finished.Kind, op.finished.Name = string(operation.Operation.Operation), operation.Operation.Name
	}
	if errs != nil {
		op.fail(op.socket.h.identified(ctx, errs))
		return
	}
	responses, ctx := op.socket.h.exec.DispatchOperation(ctx, operation)
	if streams(operation) {
		live = true
		go op.stream(ctx, responses)
		return
	}
	if response := responses(ctx); response != nil {
		op.next(response)
	}
	op.complete()
}

// stream sends each answer before it asks for the next, so that the producer can put changes together.
func (op *running) stream(ctx context.Context, responses graphql.ResponseHandler) {
	op.socket.h.countSubscription(1)
	defer op.socket.h.countSubscription(-1)
	defer op.leave()
	defer func() {
		if cause := recover(); cause != nil {
			op.fail(op.socket.h.recovered(ctx, cause))
		}
	}()
	for response := responses(ctx); response != nil; response = responses(ctx) {
		if !op.next(response) {
			return
		}
	}
	op.complete()
}

// next sends an answer; false when nobody wants more.
func (op *running) next(response *graphql.Response) bool {
	if op.ctx.Err() != nil {
		return false
	}
	buffer := borrow()
	defer giveBack(buffer)
	s := op.socket
	*buffer = appendHead((*buffer)[:frameRoom], op.id, s.dialect.next)
	*buffer = append(appendResponse(*buffer, response, s.h.options.MaxErrors), '}')
	op.finished.Codes = codesOf(response.Errors)
	return s.write(ws.OpText, *buffer) == nil
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
	if s.operations[op.id] != op {
		return false
	}
	delete(s.operations, op.id)
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

func (s *socket) send(m message) {
	text, _ := json.Marshal(m)
	_ = s.write(ws.OpText, append(make([]byte, frameRoom, frameRoom+len(text)), text...))
}

// sendErrors sends an error message: a list of errors, or the first in the legacy protocol.
func (s *socket) sendErrors(id string, errs gqlerror.List) {
	buffer := borrow()
	defer giveBack(buffer)
	to := appendHead((*buffer)[:frameRoom], id, typeError)
	if s.dialect.legacy {
		text, _ := json.Marshal(errs[0])
		to = append(to, text...)
	} else {
		to = appendErrors(to, errs)
	}
	*buffer = append(to, '}')
	_ = s.write(ws.OpText, *buffer)
}
