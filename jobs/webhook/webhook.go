// Package webhook signs messages to a web address in the form of Standard Webhooks 1.0.
//
// The signature is an HMAC-SHA-256 over the message's id, the time and the body, each bound to the
// others by a full stop. A receiver computes it anew over the raw body, compares in constant time, and
// refuses a time that is more than [Window] off its own: whoever has overheard a message cannot send
// it again later.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed message.
const (
	HeaderID        = "Webhook-Id"        // the same for each sending of a message
	HeaderTimestamp = "Webhook-Timestamp" // of this sending, in seconds since 1970
	HeaderSignature = "Webhook-Signature" // one for each key, between spaces
)

// Window is how far the time of a message may be off the receiver's.
const Window = 5 * time.Minute

// Signature returns the signature of body under key: v1 and its base64.
func Signature(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Sign sets the headers of a message with a signature for each of keys: while one replaces the other, a
// receiver may know either.
func Sign(header http.Header, keys [][]byte, id string, at time.Time, body []byte) {
	signatures := make([]string, len(keys))
	for i, key := range keys {
		signatures[i] = Signature(key, id, at, body)
	}
	header.Set(HeaderID, id)
	header.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	header.Set(HeaderSignature, strings.Join(signatures, " "))
}
