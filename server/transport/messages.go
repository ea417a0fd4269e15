package transport

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/gobwas/ws"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// handle takes one message of the client and says when the socket must end.
func (s *socket) handle(text []byte) *closing {
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return ending(closeInvalidMessage, "Invalid message: not a JSON object with a type")
	}
	legacy := s.dialect == legacyWS
	subscribe, stop, _ := s.dialect.names()
	switch {
	case m.Type == typeInit:
		return s.initialise(m)
	case m.Type == subscribe:
		return s.subscribe(m)
	case m.Type == stop:
		return s.complete(m)
	case m.Type == typePing && !legacy:
		return s.ping(m)
	case m.Type == typePong && !legacy:
		return nil
	case m.Type == typeLegacyTerminate && legacy:
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
	case again && s.dialect != legacyWS:
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
	if s.dialect == legacyWS {
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
	s.ask(cancel)
	defer s.ask(func() {})
	r, err := s.handshake.request(ctx)
	if err == nil {
		caller, err = authenticator.Socket(r, token)
	}
	if err != nil {
		return Caller{}, s.h.options.Present(s.base, err)
	}
	return caller, nil
}

// ask remembers how to end the work of the authenticator, should the socket end.
func (s *socket) ask(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = cancel
	if s.ended {
		cancel()
	}
}

func (s *socket) refuseInit(shown *gqlerror.Error) *closing {
	if s.dialect == legacyWS {
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
	s.admitted, s.subject, s.stopWatch = true, caller.Subject, stop
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
	same := caller.Subject == s.subject
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
	expires := s.alarm.expiry
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
	s.work.Add(1)
	go op.start(params)
	return nil
}

// enter registers an operation; nil when the socket has as many as it may.
func (s *socket) enter(id string) (*running, *closing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.indexOf(id) >= 0 {
		return nil, ending(closeDuplicateID, "Subscriber for "+shortened(id, 60)+" already exists")
	}
	if len(s.operations) >= s.h.options.MaxOperations {
		return nil, nil
	}
	op := &running{socket: s, id: id, started: s.h.options.Now(), finished: Finished{Transport: "socket"}}
	op.ctx, op.cancel = context.WithCancel(s.viewer)
	op.offer.Reader = op
	s.operations = append(s.operations, op)
	if s.ended {
		op.cancel()
	}
	return op, nil
}

// indexOf finds the operation with this id, -1 when there is none. mu is held.
func (s *socket) indexOf(id string) int {
	return slices.IndexFunc(s.operations, func(op *running) bool { return op.id == id })
}

// complete stops an operation at the client's wish. One that is not there has ended just now.
func (s *socket) complete(m message) *closing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.indexOf(m.ID); at >= 0 {
		s.operations[at].cancel()
		s.operations = slices.Delete(s.operations, at, at+1)
	}
	return nil
}

func (s *socket) send(m message) { _ = s.write(ws.OpText, encode(m)) }

// encode writes m after frameRoom free bytes.
func encode(m message) []byte {
	text, _ := json.Marshal(m)
	return append(make([]byte, frameRoom, frameRoom+len(text)), text...)
}

// sendErrors sends an error message: a list of errors, or the first in the legacy protocol.
func (s *socket) sendErrors(id string, errs gqlerror.List) {
	buffer := borrow()
	defer giveBack(buffer)
	to := appendHead((*buffer)[:frameRoom], id, typeError)
	if s.dialect == legacyWS {
		text, _ := json.Marshal(errs[0])
		to = append(to, text...)
	} else {
		to = appendErrors(to, errs)
	}
	*buffer = append(to, '}')
	_ = s.write(ws.OpText, *buffer)
}
