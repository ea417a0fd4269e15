package transport

import (
	"encoding/json"
	"strings"

	"github.com/gobwas/ws"
)

// Close codes of RFC 6455 §7.4.1 and the IANA registry.
const (
	closeNormal         ws.StatusCode = 1000
	closeProtocolError  ws.StatusCode = 1002
	closeUnsupported    ws.StatusCode = 1003
	closeInvalidText    ws.StatusCode = 1007
	closeTooLarge       ws.StatusCode = 1009
	closeInternal       ws.StatusCode = 1011
	closeServiceRestart ws.StatusCode = 1012
)

// Close codes of graphql-transport-ws, which graphql-ws gets too: a client that is told 1000 would
// reconnect for ever.
const (
	closeInvalidMessage ws.StatusCode = 4400
	closeUnauthorized   ws.StatusCode = 4401
	closeForbidden      ws.StatusCode = 4403
	closeNoSubprotocol  ws.StatusCode = 4406
	closeInitTimeout    ws.StatusCode = 4408
	closeDuplicateID    ws.StatusCode = 4409
	closeTooManyInits   ws.StatusCode = 4429
)

const (
	maxCloseReason = ws.MaxControlFramePayloadSize - 2 // bytes; a close frame begins with its code
	maxOperationID = 255                               // bytes
)

// Types of messages that both subprotocols, or one of them, know by these names.
const (
	typeInit            = "connection_init"
	typeAck             = "connection_ack"
	typePing            = "ping"
	typePong            = "pong"
	typeError           = "error"
	typeComplete        = "complete"
	typeLegacyInitError = "connection_error"
	typeLegacyKeepAlive = "ka"
	typeLegacyTerminate = "connection_terminate"
)

// closing says that a socket is to end, and how.
type closing struct {
	code   ws.StatusCode
	reason string
}

func ending(code ws.StatusCode, reason string) *closing {
	return &closing{code, strings.ToValidUTF8(reason[:min(len(reason), maxCloseReason)], "")}
}

// ended says that the caller's session has: a client may sign in, or prove who it is, and come back.
func ended(reason string) *closing {
	if reason == codeStepUp {
		return ending(closeForbidden, reason)
	}
	return ending(closeUnauthorized, reason)
}

// dialect is one of the two subprotocols, which name some messages differently.
type dialect uint8

const (
	noDialect   dialect = iota
	transportWS         // graphql-transport-ws
	legacyWS            // graphql-ws, as subscriptions-transport-ws knew it
)

// dialectOf is the dialect of a subprotocol, noDialect when we do not speak it.
func dialectOf(offered string) dialect {
	switch offered {
	case "graphql-transport-ws":
		return transportWS
	case "graphql-ws":
		return legacyWS
	}
	return noDialect
}

// names returns the types of the messages that begin an operation, stop it and bring an answer.
func (d dialect) names() (subscribe, stop, next string) {
	if d == legacyWS {
		return "start", "stop", "data"
	}
	return "subscribe", typeComplete, "next"
}

// message is what either side sends, save that next and error are put together by hand.
type message struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// tokenIn finds the authorization in the payload of connection_init or ping, "" when there is none.
// Clients write it in three ways; a token under accessToken gains the scheme it lacks.
func tokenIn(payload json.RawMessage) string {
	var object map[string]any
	if json.Unmarshal(payload, &object) != nil {
		return ""
	}
	for _, name := range []string{"Authorization", "authorization"} {
		if text, _ := object[name].(string); text != "" {
			return text
		}
	}
	token, _ := object["accessToken"].(string)
	if token != "" && !strings.Contains(token, " ") {
		return "Bearer " + token
	}
	return token
}

// isObject tells whether JSON text is an object; absent is false.
func isObject(text json.RawMessage) bool { return len(text) > 0 && text[0] == '{' }
