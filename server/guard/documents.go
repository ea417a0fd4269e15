package guard

import (
	"context"

	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

const (
	defaultDocumentCacheBytes = 16 << 20
	// maxCachedDocument is the longest document a cache keeps, in bytes of text: a few long ones
	// must not push out the many short ones that clients repeat.
	maxCachedDocument = 16 << 10
	// documentBytesPerByte is what a parsed document takes for a byte of its text; see
	// TestADocumentInTheCacheTakesNoMoreThanItsWeight.
	documentBytesPerByte = 64
	documentBytes        = 1 << 10 // what an entry takes beside that
)

// Documents keeps parsed and validated documents by their text, bounded by an estimate of the memory
// they take. It is a graphql.Cache of *ast.QueryDocument, good for use by several goroutines; the
// documents are shared and must not be changed.
type Documents struct {
	cache *otter.Cache[string, *ast.QueryDocument]
}

// NewDocuments returns an empty cache of at most maxBytes; 0 means 16 MiB.
func NewDocuments(maxBytes int) *Documents {
	if maxBytes <= 0 {
		maxBytes = defaultDocumentCacheBytes
	}
	return &Documents{cache: otter.Must(&otter.Options[string, *ast.QueryDocument]{
		MaximumWeight: uint64(maxBytes),
		Weigher: func(text string, _ *ast.QueryDocument) uint32 {
			return uint32(documentBytes + documentBytesPerByte*len(text))
		},
	})}
}

// Get returns the document of text, and whether the cache had it.
func (d *Documents) Get(_ context.Context, text string) (*ast.QueryDocument, bool) {
	return d.cache.GetIfPresent(text)
}

// Add keeps a validated document, unless its text is longer than 16 KiB.
func (d *Documents) Add(_ context.Context, text string, document *ast.QueryDocument) {
	if len(text) <= maxCachedDocument {
		d.cache.Set(text, document)
	}
}
