package webhook

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The example that Standard Webhooks publishes.
const (
	exampleKey       = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	exampleID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	exampleTime      = 1614265330
	exampleBody      = `{"test": 2432232314}`
	exampleSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestTheSignatureIsThatOfThePublishedExample(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString(exampleKey)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	Sign(header, [][]byte{key, []byte("the former key")}, exampleID, time.Unix(exampleTime, 999), []byte(exampleBody))
	signatures := strings.Split(header.Get(HeaderSignature), " ")
	if len(signatures) != 2 || signatures[0] != exampleSignature || signatures[1] == exampleSignature {
		t.Errorf("signatures %v, want %s and another", signatures, exampleSignature)
	}
	if header.Get("webhook-id") != exampleID || header.Get("webhook-timestamp") != "1614265330" {
		t.Errorf("headers %v", header)
	}
}

func TestEveryPartOfAMessageIsSigned(t *testing.T) {
	at := time.Unix(exampleTime, 0)
	signed := Signature([]byte("key"), "job_1", at, []byte("body"))
	for name, other := range map[string]string{
		"the key":  Signature([]byte("kez"), "job_1", at, []byte("body")),
		"the id":   Signature([]byte("key"), "job_2", at, []byte("body")),
		"the time": Signature([]byte("key"), "job_1", at.Add(time.Second), []byte("body")),
		"the body": Signature([]byte("key"), "job_1", at, []byte("bodz")),
	} {
		if other == signed {
			t.Errorf("the signature is the same whatever %s is", name)
		}
	}
}
