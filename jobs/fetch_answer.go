package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/internal/cache"
	"gatehouse/internal/limit"
	"gatehouse/internal/viewer"
)

// fetched is an answer that was read to its end.
type fetched struct {
	Status    int
	MediaType string
	Body      []byte
	Redirects []string
	FetchedAt time.Time
	NoStore   bool // the server wants it in no cache
}

// readAnswer reads a to its end. An answer that is an error is returned together with its trouble.
func readAnswer(a *answer, now func() time.Time) (*fetched, error) {
	content, err := io.ReadAll(a.body)
	if err != nil {
		return nil, err
	}
	got := &fetched{
		Status: a.StatusCode, MediaType: mediaTypeOf(a.Header), Body: content, Redirects: a.redirects, FetchedAt: now(),
		NoStore: strings.Contains(strings.ToLower(strings.Join(a.Header.Values("Cache-Control"), ",")), "no-store"),
	}
	return got, statusTrouble(a.Response, got.FetchedAt)
}

// describe tells of the answer in r.
func (f *fetched) describe(r *FetchResult) {
	sum := sha256.Sum256(f.Body)
	hexed := hex.EncodeToString(sum[:])
	r.Status, r.MediaType, r.Bytes, r.SHA256, r.FetchedAt = &f.Status, &f.MediaType, int64(len(f.Body)), &hexed, &f.FetchedAt
	r.Redirects = append(r.Redirects, f.Redirects...)
	if !utf8.Valid(f.Body) || bytes.IndexByte(f.Body, 0) >= 0 { // no database takes a NUL as text
		return
	}
	text := string(f.Body)
	if len(text) > inlineBytes {
		cut := inlineBytes
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text, r.Truncated = text[:cut], true
	}
	r.Body = &text
}

// maxMediaTypeBytes bounds what a server may call its content.
const maxMediaTypeBytes = 200

// mediaTypeOf returns what a server calls its content, rewritten by us: it becomes a header of ours.
func mediaTypeOf(h http.Header) string {
	kind, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err == nil && strings.Contains(kind, "/") {
		if text := mime.FormatMediaType(kind, parameters); text != "" && len(text) <= maxMediaTypeBytes {
			return text
		}
	}
	return "application/octet-stream"
}

// extension is the end of the name of a file of that media type.
func extension(mediaType string) string {
	kind, _, _ := strings.Cut(mediaType, ";")
	for _, known := range []struct{ kind, extension string }{
		{"application/json", ".json"},
		{"application/xml", ".xml"},
		{"text/xml", ".xml"},
		{"text/html", ".html"},
		{"text/csv", ".csv"},
		{"text/plain", ".txt"},
		{"application/pdf", ".pdf"},
		{"image/png", ".png"},
		{"image/jpeg", ".jpg"},
	} {
		if kind == known.kind {
			return known.extension
		}
	}
	if strings.HasSuffix(kind, "+json") {
		return ".json"
	}
	return ".bin"
}

// Answers keeps answers for those who say how old one may be, in memory and in Redis. An answer serves the
// account that fetched it and nobody else: what an address answers may be meant for who knows the address.
// What an account may keep is bounded by [cachedKiB]. A nil *Answers keeps nothing.
type Answers struct {
	layer   *cache.Layer[answerKey, fetched]
	limiter *limit.Limiter
}

// answerKey is an answer's owner and address. The method is always GET.
type answerKey struct {
	owner   viewer.UserID
	address string
}

// answersMemory is how many bytes of answers a process holds in memory.
const answersMemory = 32 << 20

// NewAnswers returns a cache over remote, told by invalidations; both may be nil. Close ends it.
func NewAnswers(remote *cache.Remote, invalidations cache.Invalidations, limiter *limit.Limiter) (*Answers, error) {
	layer, err := cache.New(remote, invalidations, cache.Options[answerKey, fetched]{
		Name: "fetched", TTL: maxCacheFor * time.Second, MaxBytes: answersMemory,
		Key:   func(k answerKey) string { return string(k.owner) + " GET " + k.address },
		Weigh: func(k answerKey, f fetched) int { return 500 + len(k.address) + len(f.Body) + 100*len(f.Redirects) },
	})
	if err != nil {
		return nil, err
	}
	return &Answers{layer, limiter}, nil
}

// Close ends what NewAnswers has begun.
func (a *Answers) Close() { a.layer.Close() }

// cachedKiB is how much of answers an account may keep, in KiB.
func cachedKiB() limit.Rule {
	return limit.Rule{Name: "fetch:cached", Limit: 36_000, Per: time.Hour}
}

// recent returns the answer of address, if owner has fetched it within the time before now.
func (a *Answers) recent(ctx context.Context, owner viewer.UserID, address string, within time.Duration, now time.Time) (*fetched, bool) {
	if a == nil || within == 0 {
		return nil, false
	}
	got, err := a.layer.Lookup(ctx, answerKey{owner, address})
	if err != nil || now.Sub(got.FetchedAt) >= within {
		return nil, false
	}
	return &got, true
}

// keep keeps an answer for as long as its owner has said. What goes wrong costs another fetch.
func (a *Answers) keep(ctx context.Context, owner viewer.UserID, address string, life time.Duration, got *fetched) {
	if a == nil || life == 0 || got.NoStore {
		return
	}
	decision, err := a.limiter.Allow(ctx, cachedKiB(), string(owner), 1+len(got.Body)>>10)
	if err != nil || !decision.Allowed {
		return
	}
	_ = a.layer.Set(ctx, answerKey{owner, address}, *got, life)
}
