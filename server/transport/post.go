package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// maxValues bounds the commas and brackets of a large JSON body, and so the time that decoding and
// coercing its values may take: some 10 ms of CPU.
const (
	maxValues        = 20_000
	smallEnoughBytes = 32 << 10 // a body below this cannot reach the time
)

// post answers a POST with a JSON body; a form goes on to multipart.go.
func (e *exchange) post() {
	media, problem := postMedia(e.r.Header.Get("Content-Type"))
	if problem != nil {
		e.fail(problem)
		return
	}
	if media == mediaForm {
		e.multipart()
		return
	}
	if problem := e.checkAccept(); problem != nil {
		e.fail(problem)
		return
	}
	if problem := e.authenticate(); problem != nil {
		e.fail(problem)
		return
	}
	params, problem := e.readParams(e.r.Body, e.r.ContentLength)
	if problem != nil {
		e.fail(problem)
		return
	}
	if problem := e.authenticateAgain(); problem != nil {
		e.fail(problem)
		return
	}
	params.Headers = e.r.Header
	e.run(params, false)
}

func postMedia(contentType string) (string, *failure) {
	switch contentType {
	case mediaJSON, mediaJSON + utf8Suffix:
		return mediaJSON, nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	charset := parameters["charset"]
	if err == nil && (media == mediaForm || media == mediaJSON && (charset == "" || strings.EqualFold(charset, "utf-8"))) {
		return media, nil
	}
	return "", refused(http.StatusUnsupportedMediaType,
		"The body must be %s in UTF-8, or %s for uploads.", mediaJSON, mediaForm)
}

func (e *exchange) checkAccept() *failure {
	if e.accept.media == "" && !e.accept.stream {
		return refused(http.StatusNotAcceptable, "The answer is %s, %s or %s.", mediaGraphQL, mediaJSON, mediaEvents)
	}
	return nil
}

// readParams reads and decodes a body of at most Options.MaxBodyBytes.
func (e *exchange) readParams(body io.Reader, length int64) (*graphql.RawParams, *failure) {
	buffer := borrow()
	defer giveBack(buffer)
	most := e.h.options.MaxBodyBytes
	if length > int64(most) {
		return nil, bodyTooLarge(most, length)
	}
	var err error
	if *buffer, err = readAtMost(*buffer, body, most); err != nil {
		if errors.Is(err, errTooLong) {
			return nil, bodyTooLarge(most, int64(len(*buffer)))
		}
		return nil, &failure{status: http.StatusBadRequest, errs: badRequest("The body could not be read to its end."), close: true}
	}
	params, errs := decodeParams(*buffer)
	if errs != nil {
		return nil, &failure{status: http.StatusBadRequest, errs: errs}
	}
	return params, nil
}

func bodyTooLarge(most int, seen int64) *failure {
	return &failure{
		status: http.StatusRequestEntityTooLarge, close: true,
		errs: gqlerror.List{limited("bodyBytes", int64(most), seen, "body")},
	}
}

var errTooLong = errors.New("longer than allowed")

// readAtMost appends all of r to buffer; it stops with errTooLong once more than most bytes have come.
func readAtMost(buffer []byte, r io.Reader, most int) ([]byte, error) {
	for {
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, 0)[:len(buffer)]
		}
		n, err := r.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case len(buffer) > most:
			return buffer, errTooLong
		case err == io.EOF:
			return buffer, nil
		case err != nil:
			return buffer, err
		}
	}
}

// envelope is the request's JSON object; variables wait for a decoder that keeps numbers exact.
type envelope struct {
	Query         *string         `json:"query"`
	OperationName string          `json:"operationName"`
	Variables     json.RawMessage `json:"variables"`
	Extensions    json.RawMessage `json:"extensions"`
}

// decodeParams decodes one request. A hash in extensions.persistedQuery may stand in for the query.
func decodeParams(body []byte) (*graphql.RawParams, gqlerror.List) {
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) > 0 && body[0] == '[' {
		return nil, badRequest("Batches are not served: send one operation a request.")
	}
	if values := countValues(body); values > maxValues {
		return nil, gqlerror.List{limited("values", maxValues, int64(values), "body")}
	}
	var request envelope
	if !quickly(body, &request) {
		request = envelope{}
		if err := json.Unmarshal(body, &request); err != nil {
			return nil, badRequest("%s", shapeProblem(err))
		}
	}
	return request.params()
}

func (request *envelope) params() (*graphql.RawParams, gqlerror.List) {
	params := &graphql.RawParams{OperationName: request.OperationName}
	var problem gqlerror.List
	if params.Variables, problem = decodeObject("variables", request.Variables); problem != nil {
		return nil, problem
	}
	if params.Extensions, problem = decodeObject("extensions", request.Extensions); problem != nil {
		return nil, problem
	}
	if request.Query != nil {
		params.Query = *request.Query
	}
	if params.Query == "" && params.Extensions["persistedQuery"] == nil {
		return nil, badRequest("The request has no query.")
	}
	return params, nil
}

// decodeObject decodes an object or null; numbers stay json.Number, so that 64-bit ones keep their digits.
func decodeObject(name string, text json.RawMessage) (map[string]any, gqlerror.List) {
	if len(text) == 0 || string(text) == "null" || string(text) == "{}" {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, badRequest("%s must be a JSON object.", name)
	}
	return object, nil
}

func shapeProblem(err error) string {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return "The body is not JSON: " + shortened(err.Error(), 100) + "."
	}
	switch wrong.Field {
	case "query", "operationName":
		return wrong.Field + " must be a string."
	case "":
		return "The body must be a JSON object."
	default:
		return shortened(wrong.Field, 100) + " has the wrong type."
	}
}

// countValues counts the commas and opening brackets outside strings of a large body.
func countValues(body []byte) int {
	if len(body) <= smallEnoughBytes {
		return 0
	}
	count, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			count++
		}
	}
	return count
}
