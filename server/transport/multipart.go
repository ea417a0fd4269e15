package transport

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

const (
	maxMapBytes     = 64 << 10
	maxFileName     = 255
	uploadGrace     = 30 * time.Second // before the rate counts
	uploadRate      = 16 << 10         // bytes a second an upload must reach at least
	afterUploadTime = time.Minute      // for the operation and its answer
)

// multipart answers a POST with files, after the GraphQL multipart request specification: the part
// "operations", the part "map", then the files in any order. The caller must be known before a byte of
// the body is read, and once more when all of it has come; a file is handed to the stage as it arrives.
func (e *exchange) multipart() {
	e.transport = "multipart"
	u := &upload{e: e}
	defer u.dropUnclaimed()
	params, problem := u.read()
	if problem != nil {
		problem.close = true
		e.fail(problem)
		return
	}
	params.Headers = e.r.Header
	e.run(params, false)
}

// upload is the files of one request.
type upload struct {
	e      *exchange
	params *graphql.RawParams
	slots  map[string][]slot // by the key of the part; emptied as files arrive
	staged []stagedFile
	body   *countedBody
}

type stagedFile struct {
	value any
	drop  func()
}

// dropUnclaimed removes the files that no resolver has claimed.
func (u *upload) dropUnclaimed() {
	for _, file := range u.staged {
		if claim, ok := file.value.(interface{ Keep() bool }); ok && claim.Keep() {
			continue
		}
		file.drop()
	}
}

func (u *upload) read() (*graphql.RawParams, *failure) {
	if problem := u.admit(); problem != nil {
		return nil, problem
	}
	parts, err := u.open()
	if err != nil {
		return nil, u.broken(err)
	}
	if problem := u.readOperations(parts); problem != nil {
		return nil, problem
	}
	if problem := u.readMap(parts); problem != nil {
		return nil, problem
	}
	if problem := u.readFiles(parts); problem != nil {
		return nil, problem
	}
	if problem := u.e.authenticateAgain(); problem != nil {
		return nil, problem
	}
	return u.params, u.e.signedIn()
}

// admit checks all that can be checked before the body.
func (u *upload) admit() *failure {
	e := u.e
	if problem := e.preflight(); problem != nil {
		return problem
	}
	if problem := e.checkAccept(); problem != nil {
		return problem
	}
	if problem := e.authenticate(); problem != nil {
		return problem
	}
	if e.h.options.Stage == nil {
		return refused(http.StatusUnsupportedMediaType, "This server takes no uploads.")
	}
	if problem := e.signedIn(); problem != nil {
		return problem
	}
	if most := e.h.options.MaxUploadBytes; e.r.ContentLength > most {
		return uploadTooLarge(most, e.r.ContentLength)
	}
	return nil
}

// signedIn refuses the files of nobody.
func (e *exchange) signedIn() *failure {
	if e.caller.Subject == "" {
		return &failure{status: http.StatusUnauthorized, errs: unauthenticated("Sign in to upload files.")}
	}
	return nil
}

func uploadTooLarge(most, seen int64) *failure {
	return &failure{
		status: http.StatusRequestEntityTooLarge,
		errs:   gqlerror.List{limited("uploadBytes", most, seen, "body")},
	}
}

func (u *upload) open() (*multipart.Reader, error) {
	controller := http.NewResponseController(u.e.w)
	u.body = &countedBody{
		from: http.MaxBytesReader(u.e.w, u.e.r.Body, u.e.h.options.MaxUploadBytes),
		pace: func(read int64) {
			allowed := uploadGrace + time.Duration(read/uploadRate)*time.Second
			_ = controller.SetReadDeadline(u.e.started.Add(min(allowed, u.e.h.options.MaxUploadTime)))
		},
	}
	u.e.r.Body = u.body
	_ = controller.SetWriteDeadline(time.Time{})
	return u.e.r.MultipartReader()
}

// countedBody extends the read deadline as bytes come, so that a large file has its time and a client
// that dribbles has not.
type countedBody struct {
	from io.ReadCloser
	pace func(read int64)
	read int64
	err  error // the first error that is not the end
}

func (b *countedBody) Read(p []byte) (int, error) {
	b.pace(b.read)
	n, err := b.from.Read(p)
	b.read += int64(n)
	if err != nil && err != io.EOF && b.err == nil {
		b.err = err
	}
	return n, err
}

func (b *countedBody) Close() error { return b.from.Close() }

// broken says why the body could not be read.
func (u *upload) broken(err error) *failure {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return uploadTooLarge(tooLarge.Limit, u.body.read)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), u.body.err != nil:
		return refused(http.StatusBadRequest, "The multipart body ends before its last boundary.")
	default:
		return refused(http.StatusBadRequest, "The multipart body is malformed: %s.", shortened(err.Error(), 100))
	}
}

func (u *upload) readOperations(parts *multipart.Reader) *failure {
	text, problem := u.readField(parts, "operations", u.e.h.options.MaxBodyBytes)
	if problem != nil {
		return problem
	}
	params, errs := decodeParams(text)
	if errs != nil {
		return &failure{status: http.StatusBadRequest, errs: errs}
	}
	u.params = params
	return nil
}

// readField reads the next part, which must be the named one.
func (u *upload) readField(parts *multipart.Reader, name string, most int) ([]byte, *failure) {
	part, err := parts.NextRawPart()
	if err != nil {
		return nil, u.broken(err)
	}
	if part.FormName() != name || part.FileName() != "" {
		return nil, refused(http.StatusBadRequest, "The parts must be operations, map, then the files; %q stands where %q belongs.", shortened(part.FormName(), 60), name)
	}
	text, err := readAtMost(nil, part, most)
	switch {
	case errors.Is(err, errTooLong):
		return nil, &failure{status: http.StatusRequestEntityTooLarge, errs: gqlerror.List{limited(name+"Bytes", int64(most), int64(len(text)), name)}}
	case err != nil:
		return nil, u.broken(err)
	}
	return text, nil
}

func (u *upload) readMap(parts *multipart.Reader) *failure {
	text, problem := u.readField(parts, "map", maxMapBytes)
	if problem != nil {
		return problem
	}
	var paths map[string][]string
	if err := json.Unmarshal(text, &paths); err != nil {
		return refused(http.StatusBadRequest, "map must be an object of lists of paths, {\"0\": [\"variables.file\"]}.")
	}
	if most := u.e.h.options.MaxFiles; len(paths) > most {
		return &failure{status: http.StatusBadRequest, errs: gqlerror.List{limited("files", int64(most), int64(len(paths)), "map")}}
	}
	u.slots = make(map[string][]slot, len(paths))
	taken := make(map[string]bool)
	for key, list := range paths {
		if len(list) == 0 {
			return refused(http.StatusBadRequest, "map names no path for the file %q.", shortened(key, 60))
		}
		for _, path := range list {
			place, ok := findSlot(u.params.Variables, path)
			if !ok || taken[path] {
				return refused(http.StatusBadRequest, "map names the path %q, where operations has no null to fill.", shortened(path, 120))
			}
			taken[path] = true
			u.slots[key] = append(u.slots[key], place)
		}
	}
	return nil
}

func (u *upload) readFiles(parts *multipart.Reader) *failure {
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.broken(err)
		}
		if problem := u.readFile(part); problem != nil {
			return problem
		}
	}
	for key := range u.slots {
		return refused(http.StatusBadRequest, "map names the file %q, which the body does not bring.", shortened(key, 60))
	}
	_ = http.NewResponseController(u.e.w).SetWriteDeadline(time.Now().Add(afterUploadTime))
	return nil
}

// readFile stages one file and fills its places.
func (u *upload) readFile(part *multipart.Part) *failure {
	key := part.FormName()
	slots, ok := u.slots[key]
	if !ok {
		return refused(http.StatusBadRequest, "The body brings a file %q that map does not name, or names once.", shortened(key, 60))
	}
	if part.FileName() == "" {
		return refused(http.StatusBadRequest, "The part %q has no filename, so it is no file.", shortened(key, 60))
	}
	delete(u.slots, key)
	value, drop, err := u.stage(u.e.ctx, part)
	if drop != nil {
		u.staged = append(u.staged, stagedFile{value, drop})
	}
	if u.body.err != nil {
		return u.broken(u.body.err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return u.broken(err)
	}
	if err != nil {
		return u.e.h.presented(u.e.ctx, err)
	}
	for _, fill := range slots {
		fill(value)
	}
	return nil
}

func (u *upload) stage(ctx context.Context, part *multipart.Part) (any, func(), error) {
	return u.e.h.options.Stage.Stage(ctx, UploadedFile{
		Name:      shortened(part.FileName(), maxFileName-len("…")),
		MediaType: shortened(part.Header.Get("Content-Type"), maxFileName),
		Body:      part,
	})
}

// slot puts a value into the place of a null in the variables.
type slot func(value any)

// findSlot finds "variables.input.files.0": an object's key or a list's index a step, null at the end.
func findSlot(variables map[string]any, path string) (slot, bool) {
	steps := strings.Split(path, ".")
	if len(steps) < 2 || steps[0] != "variables" {
		return nil, false
	}
	var at any = variables
	for i, step := range steps[1:] {
		last := i == len(steps)-2
		switch holder := at.(type) {
		case map[string]any:
			value, ok := holder[step]
			if !ok {
				return nil, false
			}
			if last {
				return func(file any) { holder[step] = file }, value == nil
			}
			at = value
		case []any:
			index, err := strconv.Atoi(step)
			if err != nil || index < 0 || index >= len(holder) {
				return nil, false
			}
			if last {
				return func(file any) { holder[index] = file }, holder[index] == nil
			}
			at = holder[index]
		default:
			return nil, false
		}
	}
	return nil, false
}
