package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// pages are whole answers by path.
type pages map[string]*page

// page is one file, packed with gzip (RFC 1952).
type page struct {
	name      string // with the extension that tells the media type
	mediaType string
	cache     string // Cache-Control
	packed    []byte
	digest    string // of packed; the entity tags of both forms hold it
}

func newPage(name string, packed []byte, cache string) *page {
	sum := sha256.Sum256(packed)
	return &page{
		name:      name,
		mediaType: mediaType(name),
		cache:     cache,
		packed:    packed,
		digest:    base64.RawURLEncoding.EncodeToString(sum[:12]),
	}
}

// mediaType does not ask the operating system, whose table would make answers differ between machines.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".md":
		return "text/plain; charset=utf-8"
	case ".ttf":
		return "font/ttf"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

// ServeHTTP answers GET and HEAD; it refuses other methods with 405 and unknown paths with 404.
func (served pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setPolicy(w.Header(), r.Host)
	found, ok := served[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	found.serve(w, r)
}

// serve sends the packed form when the client accepts it. The two forms have an entity tag each (RFC 9110 §8.8.3.3).
func (p *page) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", p.mediaType)
	header.Set("Cache-Control", p.cache)
	header.Set("Vary", "Accept-Encoding")
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		header.Set("Content-Encoding", "gzip")
		header.Set("Content-Length", strconv.Itoa(len(p.packed))) // ServeContent leaves it out of encoded answers
		header.Set("ETag", `"`+p.digest+`-gzip"`)
		http.ServeContent(w, r, p.name, time.Time{}, bytes.NewReader(p.packed))
		return
	}
	p.serveUnpacked(w, r)
}

// serveUnpacked sends the plain form as it is unpacked, so that a slow reader holds no copy of it.
func (p *page) serveUnpacked(w http.ResponseWriter, r *http.Request) {
	tag := `"` + p.digest + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	reader, err := gzip.NewReader(bytes.NewReader(p.packed))
	if err != nil {
		http.Error(w, "Unreadable file in this build", http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(w, reader) // the client has gone, or it has it
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3): gzip or *, unless its weight is 0.
func acceptsGzip(fields []string) bool {
	accepted := false
	for item := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		coding, params, err := mime.ParseMediaType(strings.TrimSpace(item))
		if err != nil || (coding != "gzip" && coding != "*") {
			continue
		}
		weight, err := strconv.ParseFloat(params["q"], 64)
		accepted = err != nil || weight > 0
		if coding == "gzip" {
			return accepted // the name counts for more than the star
		}
	}
	return accepted
}

func pack(plain []byte) []byte {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = writer.Write(plain) // a bytes.Buffer takes everything
	_ = writer.Close()
	return packed.Bytes()
}
