package jobs

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/queue"
)

// pieceBytes is after how much of a file it is kept for the next attempt.
const pieceBytes = 16 << 20

// maxTagBytes bounds an entity tag, which a piece is kept with.
const maxTagBytes = 256

// download is one file of an attempt.
//
// A file whose server names its content by a strong entity tag is kept piece by piece, beside the whole that is
// written at the same time. Another attempt copies the pieces and asks for the rest with If-Range (RFC 9110
// §13.1.5): the server sends the rest of the same content, or all of the new.
type download struct {
	all     *downloads
	fetcher *fetcher
	doors   *doors
	now     func() time.Time
	run     *queue.Run
	place   int
	spec    DownloadSpec

	pieces []queue.Kept // of an earlier attempt, in order
	whole  *queue.Kept  // once it is here
	met    *trouble     // why it is not

	origin  origin
	resumed bool
	file    *queue.Making // the whole, while it is written
	piece   *queue.Making // nil: none is begun
	filled  int64         // bytes in piece
	done    atomic.Int64
	size    atomic.Int64 // 0: not told; nothing: none, or none any more
}

const nothing = -1

// origin is what is known of a file before its bytes; kept with each piece and with the whole.
type origin struct {
	Tag       string   `json:"tag,omitempty"` // strong; "": it cannot be resumed
	Name      string   `json:"name"`
	MediaType string   `json:"mediaType"`
	Bytes     int64    `json:"bytes,omitempty"` // in all; 0: not told
	Redirects []string `json:"redirects,omitempty"`
	Resumed   bool     `json:"resumed,omitempty"`
}

// errChanged means that what was kept is not a part of what there is now.
var errChanged = errors.New("the file is another one now")

// recall takes over what an earlier attempt has kept, called in the order of names.
func (d *download) recall(k queue.Kept) error {
	var o origin
	if err := json.Unmarshal(k.Note, &o); err != nil {
		return fmt.Errorf("read note %s: %w", k.Name, err)
	}
	if strings.Contains(k.Name, "/") {
		d.pieces = append(d.pieces, k)
		return nil
	}
	d.whole, d.origin = &k, o
	d.done.Store(k.File.Bytes)
	d.sized(k.File.Bytes)
	return d.all.spend(k.File.Bytes)
}

// sized notes the size of a file that is here.
func (d *download) sized(bytes int64) {
	if bytes == 0 {
		bytes = nothing
	}
	d.size.Store(bytes)
}

func (d *download) name() string { return fmt.Sprintf("%02d", d.place) }

func (d *download) pieceName(i int) string { return fmt.Sprintf("%02d/%04d", d.place, i) }

// do downloads the file. What lies at the other end is kept in met.
func (d *download) do(ctx context.Context) error {
	err := patiently(ctx, func() error {
		err := d.try(ctx)
		if errors.Is(err, errChanged) {
			err = d.startOver(ctx)
		}
		return err
	})
	if t, ok := errors.AsType[*trouble](err); ok {
		d.met, err = t, nil
		d.size.Store(nothing)
	}
	return err
}

// startOver tries without what was kept.
func (d *download) startOver(ctx context.Context) error {
	if err := d.forget(ctx); err != nil {
		return err
	}
	err := d.try(ctx)
	if errors.Is(err, errChanged) {
		return passingTrouble(Interrupted, "The file changes while it is downloaded.", err)
	}
	return err
}

// forget drops the pieces.
func (d *download) forget(ctx context.Context) error {
	var names []string
	for _, p := range d.pieces {
		names = append(names, p.Name)
	}
	d.pieces = nil
	return d.run.Drop(ctx, names...)
}

// try downloads the file from where the pieces end.
func (d *download) try(ctx context.Context) (err error) {
	d.origin, d.resumed, d.piece, d.filled = origin{}, len(d.pieces) > 0, nil, 0
	if d.file, err = d.run.Create(ctx, d.name(), "application/octet-stream"); err != nil {
		return err
	}
	written := int64(0)
	defer func() {
		if err != nil {
			d.run.Abandon(d.file)
			d.done.Store(0)
			d.all.spendBack(written)
		}
	}()
	if written, err = d.copyPieces(ctx); err != nil {
		return err
	}
	if d.origin.Bytes == 0 || written < d.origin.Bytes {
		n, err := d.fetchRest(ctx, written)
		written += n
		if err != nil {
			return err
		}
	}
	if d.origin.Bytes > 0 && written != d.origin.Bytes {
		return errChanged
	}
	return d.finish(ctx)
}

// copyPieces writes what earlier attempts have kept and returns how much that is.
func (d *download) copyPieces(ctx context.Context) (written int64, err error) {
	for i, p := range d.pieces {
		var o origin
		if err := json.Unmarshal(p.Note, &o); err != nil || i > 0 && o.Tag != d.origin.Tag || p.Name != d.pieceName(i) {
			return written, errChanged
		}
		d.origin = o
		n, err := d.copyPiece(ctx, p)
		written += n
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
			return written, errChanged
		}
		if err != nil {
			return written, err
		}
	}
	d.size.Store(d.origin.Bytes)
	return written, nil
}

func (d *download) copyPiece(ctx context.Context, p queue.Kept) (written int64, err error) {
	content, err := d.run.Open(ctx, *p.File)
	if err != nil {
		return 0, err
	}
	defer content.Close()
	buffer := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := content.Read(buffer)
		if err := d.put(buffer[:n]); err != nil {
			return written, err
		}
		written += int64(n)
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
	return written, context.Cause(ctx)
}

// put appends to the whole.
func (d *download) put(content []byte) error {
	if err := d.all.spend(int64(len(content))); err != nil {
		return err
	}
	if _, err := d.file.Write(content); err != nil {
		d.all.spendBack(int64(len(content)))
		return err
	}
	d.done.Add(int64(len(content)))
	d.all.progress()
	return nil
}

// fetchRest asks for what follows the first offset bytes and returns how much came.
func (d *download) fetchRest(ctx context.Context, offset int64) (written int64, err error) {
	w := wish{url: d.spec.URL, raw: true, limit: maxFetchedBytes, had: offset, doors: d.doors, header: http.Header{}}
	if offset > 0 {
		w.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		w.header.Set("If-Range", d.origin.Tag)
	}
	a, err := d.fetcher.get(ctx, w)
	if err != nil {
		return 0, err
	}
	defer a.body.Close()
	if err := d.accept(a, offset); err != nil {
		return 0, err
	}
	return d.stream(ctx, a.body)
}

// accept checks that the answer goes on at offset, and notes what it says of the file.
func (d *download) accept(a *answer, offset int64) error {
	tag := strongTag(a.Header)
	if offset > 0 {
		if a.StatusCode == http.StatusPartialContent && tag == d.origin.Tag && d.goesOn(a.Header.Get("Content-Range"), offset) {
			return nil
		}
		if a.StatusCode < 300 || a.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return errChanged
		}
	}
	if err := statusTrouble(a.Response, d.now()); err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return newTrouble(Status, fmt.Sprintf("The address answered with status %d.", a.StatusCode), nil)
	}
	address := d.spec.URL
	if n := len(a.redirects); n > 0 {
		address = a.redirects[n-1]
	}
	d.origin = origin{
		Tag: tag, Name: fileName(a.Header.Get("Content-Disposition"), address), MediaType: mediaTypeOf(a.Header),
		Bytes: max(0, a.ContentLength), Redirects: a.redirects,
	}
	d.size.Store(d.origin.Bytes)
	return nil
}

// goesOn reports whether a part of the content (RFC 9110 §14.4) is all that follows the first offset bytes.
func (d *download) goesOn(part string, offset int64) bool {
	if size := d.origin.Bytes; size > 0 {
		return part == fmt.Sprintf("bytes %d-%d/%d", offset, size-1, size)
	}
	return strings.HasPrefix(part, fmt.Sprintf("bytes %d-", offset))
}

// strongTag returns the entity tag by which parts of the content can be asked for, "" when there is none.
func strongTag(h http.Header) string {
	tag := h.Get("ETag")
	if len(tag) < 2 || len(tag) > maxTagBytes || tag[0] != '"' || tag[len(tag)-1] != '"' || h.Get("Accept-Ranges") == "none" {
		return ""
	}
	return tag
}

// stream writes what comes, to the whole and to pieces. What came is kept though the rest does not come.
func (d *download) stream(ctx context.Context, from io.Reader) (written int64, err error) {
	buffer := make([]byte, 64<<10)
	for {
		n, readErr := from.Read(buffer)
		if err := d.put(buffer[:n]); err != nil {
			return written, err
		}
		written += int64(n)
		if err := d.putPiece(ctx, buffer[:n]); err != nil {
			return written, err
		}
		if readErr == io.EOF {
			return written, nil
		}
		if readErr != nil {
			if !errors.Is(context.Cause(ctx), queue.ErrCancelled) {
				_ = d.keepPiece(context.WithoutCancel(ctx)) // without it the next attempt fetches more
			}
			return written, readErr
		}
	}
}

// putPiece appends to the piece, and keeps it when it is full.
func (d *download) putPiece(ctx context.Context, content []byte) (err error) {
	if d.origin.Tag == "" || len(content) == 0 {
		return nil
	}
	if d.piece == nil {
		if d.piece, err = d.run.Create(ctx, d.name(), "application/octet-stream"); err != nil {
			return err
		}
	}
	if _, err := d.piece.Write(content); err != nil {
		return err
	}
	if d.filled += int64(len(content)); d.filled < pieceBytes {
		return nil
	}
	return d.keepPiece(ctx)
}

// keepPiece stores the piece for the next attempt.
func (d *download) keepPiece(ctx context.Context) error {
	if d.piece == nil {
		return nil
	}
	piece := d.piece
	d.piece, d.filled = nil, 0
	k, err := d.run.Keep(ctx, d.pieceName(len(d.pieces)), d.origin, piece)
	if err == nil {
		d.pieces = append(d.pieces, k)
	}
	return err
}

// finish keeps the whole in place of its pieces, if it is what was expected.
func (d *download) finish(ctx context.Context) error {
	if d.piece != nil {
		d.run.Abandon(d.piece)
		d.piece = nil
	}
	d.origin.Resumed = d.resumed
	whole, err := d.run.Keep(ctx, d.name(), d.origin, d.file)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(whole.File.SHA256); d.spec.SHA256 != "" && sum != d.spec.SHA256 {
		return d.reject(ctx)
	}
	d.whole = &whole
	d.sized(whole.File.Bytes)
	return d.forget(ctx)
}

// reject drops a file that is not the expected one. When a part of it is of an earlier attempt it is tried
// anew, for the server may have broken its promise that a strong tag is.
func (d *download) reject(ctx context.Context) error {
	if err := d.run.Drop(ctx, d.name()); err != nil {
		return err
	}
	if d.resumed {
		return errChanged
	}
	if err := d.forget(ctx); err != nil {
		return err
	}
	return newTrouble(Checksum, "The file has another SHA-256 than was expected.", nil)
}

// described tells of a file that is here.
func (d *download) described() DownloadedFile {
	f, o := d.whole.File, d.origin
	sum := hex.EncodeToString(f.SHA256)
	return DownloadedFile{
		URL: d.spec.URL, Name: &o.Name, MediaType: &o.MediaType, Bytes: f.Bytes, SHA256: &sum, Resumed: o.Resumed,
		Redirects: append([]string{}, o.Redirects...),
	}
}
