package transport

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

const (
	mediaJSON    = "application/json"
	mediaGraphQL = "application/graphql-response+json"
	mediaEvents  = "text/event-stream"
	mediaForm    = "multipart/form-data"
	utf8Suffix   = "; charset=utf-8"
)

// maxPooledBytes is the largest buffer kept for the next request.
const maxPooledBytes = 64 << 10

// buffers lends the byte slices that bodies are read into and answers are put together in.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 2048)) }}

func borrow() *[]byte { return buffers.Get().(*[]byte) }

func giveBack(buffer *[]byte) {
	if cap(*buffer) <= maxPooledBytes {
		*buffer = (*buffer)[:0]
		buffers.Put(buffer)
	}
}

// acceptance is what the client can read.
type acceptance struct {
	media  string // the JSON media type to answer with, "" when it reads none
	stream bool   // it reads event streams
}

func (a acceptance) streamOnly() bool { return a.stream && a.media == "" }

// statusOf is the status of a request that was understood but not executed. Under application/json the
// status speaks of the request only, so that intermediaries cannot be mistaken for the server
// (GraphQL over HTTP §6.4.1); under application/graphql-response+json of the operation (§6.4.2).
func (a acceptance) statusOf(errs gqlerror.List) int {
	if a.media != mediaGraphQL {
		return http.StatusOK
	}
	switch code(errs[0]) {
	case codeUnauthenticated:
		return http.StatusUnauthorized
	case codeForbidden:
		return http.StatusForbidden
	default:
		return http.StatusBadRequest
	}
}

// negotiate reads the Accept headers: the JSON type with the highest quality, the first of equals. No
// header, and a wildcard, mean application/json, which every client reads.
func negotiate(headers []string) acceptance {
	if len(headers) == 0 || len(headers) == 1 && (headers[0] == "*/*" || headers[0] == mediaJSON) {
		return acceptance{media: mediaJSON}
	}
	var accepted acceptance
	best := 0.0
	for _, header := range headers {
		for entry := range strings.SplitSeq(header, ",") {
			media, parameters, _ := strings.Cut(entry, ";")
			quality := qualityOf(parameters)
			if quality <= 0 {
				continue
			}
			switch media = strings.ToLower(strings.TrimSpace(media)); media {
			case mediaEvents:
				accepted.stream = true
				continue
			case "*/*", "application/*":
				media = mediaJSON
			case mediaJSON, mediaGraphQL:
			default:
				continue
			}
			if quality > best {
				accepted.media, best = media, quality
			}
		}
	}
	return accepted
}

// qualityOf is the q of an Accept entry's parameters (RFC 9110 §12.4.2), 1 when there is none.
func qualityOf(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if name == "q" || name == "Q" {
			quality, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return quality
		}
	}
	return 1
}

// answer writes the executor's response; nil, which it gives when the client has gone, writes nothing.
func (e *exchange) answer(response *graphql.Response) {
	if response == nil {
		e.observe(nil)
		return
	}
	e.write(http.StatusOK, response)
	e.observe(response.Errors)
}

// fail answers a request that was not executed.
func (e *exchange) fail(f *failure) {
	if f.allow != "" {
		e.w.Header().Set("Allow", f.allow)
	}
	if f.close {
		e.w.Header().Set("Connection", "close")
	}
	if f.status == http.StatusUnauthorized {
		e.w.Header().Set("WWW-Authenticate", "Bearer")
	}
	e.write(f.status, &graphql.Response{Errors: e.h.identified(e.ctx, f.errs)})
	e.observe(f.errs)
}

func (e *exchange) write(status int, response *graphql.Response) {
	media := e.accept.media
	if media == "" {
		media = mediaJSON
	}
	buffer := borrow()
	defer giveBack(buffer)
	*buffer = appendResponse(*buffer, response, e.h.options.MaxErrors)
	header := e.w.Header()
	header["Content-Type"] = contentTypes(media)
	header["X-Content-Type-Options"] = noSniff
	header["Cache-Control"] = noStore
	if len(*buffer) > countedByServer {
		header["Content-Length"] = []string{strconv.Itoa(len(*buffer))}
	}
	e.answered = true
	e.w.WriteHeader(status)
	_, _ = e.w.Write(*buffer) // the client has gone: nobody is left to tell
}

// countedByServer is the answer for which net/http writes the Content-Length itself: it holds 2 KiB back.
const countedByServer = 2 << 10

// Values of headers, the same for all answers.
var (
	jsonType    = []string{mediaJSON + utf8Suffix}
	graphqlType = []string{mediaGraphQL + utf8Suffix}
	eventsType  = []string{mediaEvents + utf8Suffix}
	noSniff     = []string{"nosniff"}
	// noStore keeps answers out of every cache: they hold tokens (RFC 6749 §5.1) and what one caller may see.
	noStore = []string{"no-store"}
)

func contentTypes(media string) []string {
	if media == mediaGraphQL {
		return graphqlType
	}
	return jsonType
}

// appendResponse appends the response map (GraphQL §7.1), errors first. The data is the executor's own
// JSON; a response without data, which is a request error, has no data entry. It changes response.Errors
// to those it wrote, at most maxErrors, and counts the others in extensions.errorsOmitted.
func appendResponse(to []byte, response *graphql.Response, maxErrors int) []byte {
	to = append(to, '{')
	if omitted := len(response.Errors) - maxErrors; omitted > 0 {
		response.Errors = response.Errors[:maxErrors]
		if response.Extensions == nil {
			response.Extensions = make(map[string]any, 1)
		}
		response.Extensions["errorsOmitted"] = omitted
	}
	if len(response.Errors) > 0 {
		to = append(to, `"errors":`...)
		to = append(appendErrors(to, response.Errors), ',')
	}
	if len(response.Data) > 0 {
		to = append(to, `"data":`...)
		to = append(append(to, response.Data...), ',')
	}
	if len(response.Extensions) > 0 {
		if text, err := json.Marshal(response.Extensions); err == nil {
			to = append(to, `"extensions":`...)
			to = append(append(to, text...), ',')
		}
	}
	if to[len(to)-1] == ',' {
		to = to[:len(to)-1]
	}
	return append(to, '}')
}

// appendErrors appends a JSON array. An error whose extensions are no JSON is shown without them.
func appendErrors(to []byte, errs gqlerror.List) []byte {
	to = append(to, '[')
	for i, err := range errs {
		if i > 0 {
			to = append(to, ',')
		}
		text, failed := json.Marshal(err)
		if failed != nil {
			text, _ = json.Marshal(&gqlerror.Error{Message: err.Message, Path: err.Path, Locations: err.Locations})
		}
		to = append(to, text...)
	}
	return append(to, ']')
}
