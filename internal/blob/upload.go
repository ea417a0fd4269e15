package blob

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// sniffBytes is how much of a file http.DetectContentType looks at.
const sniffBytes = 512

// maxNameBytes bounds the name of an upload.
const maxNameBytes = 255

// Upload is one received file, as GraphQL's Upload scalar carries it. Whoever takes it over calls
// Keep; the edge deletes at the end of the request what nobody kept.
type Upload struct {
	Object
	Name      string // for showing only: no folder, no control character, at most 255 bytes; may be empty
	MediaType string // as the first 512 bytes look (WHATWG MIME Sniffing), not as the client says
	kept      atomic.Bool
}

// Keep marks the upload as claimed.
func (u *Upload) Keep() { u.kept.Store(true) }

// Kept tells whether it is.
func (u *Upload) Kept() bool { return u.kept.Load() }

// Receive stores an uploaded file. name is what the client calls it. More than limit bytes are
// ErrTooLarge; after any error nothing is stored.
func (s *Store) Receive(ctx context.Context, name string, r io.Reader, limit int64) (*Upload, error) {
	sniffed := &sniffer{reader: r}
	object, err := s.Put(ctx, sniffed, limit)
	if err != nil {
		return nil, fmt.Errorf("receive upload: %w", err)
	}
	return &Upload{Object: object, Name: cleanName(name), MediaType: http.DetectContentType(sniffed.head)}, nil
}

// sniffer keeps the first bytes of what is read through it.
type sniffer struct {
	reader io.Reader
	head   []byte
}

func (s *sniffer) Read(into []byte) (int, error) {
	n, err := s.reader.Read(into)
	s.head = append(s.head, into[:min(n, sniffBytes-len(s.head))]...)
	return n, err
}

// cleanName makes a client's file name safe to show and to offer as a download.
func cleanName(name string) string {
	name = strings.ToValidUTF8(strings.ReplaceAll(name, `\`, "/"), "\uFFFD")
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) { // Cf holds the marks that turn text around
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(path.Base(name))
	if name == "." || name == ".." || name == "/" {
		return ""
	}
	for len(name) > maxNameBytes {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}
