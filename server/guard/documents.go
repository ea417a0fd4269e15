package guard

import (
	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"gatehouse/internal/marshal"
)

const (
	defaultDocumentCacheBytes = 16 << 20
	// maxCachedDocument is the longest document a cache keeps, in bytes of text: a few long ones
	// must not push out the many short ones that clients repeat.
	maxCachedDocument = 16 << 10
	// documentBytesPerByte is what a parsed document takes for a byte of its text, with a plan that has
	// remembered all it may; see TestADocumentInTheCacheTakesNoMoreThanItsWeight.
	documentBytesPerByte = 112
	bytesPerField        = 4       // of text, for each field that a plan may remember
	documentBytes        = 1 << 10 // what an entry takes beside that
)

// Documents keeps parsed and validated documents by their text, with their plans, bounded by an
// estimate of the memory they take. It is good for use by several goroutines; the documents are shared
// and must not be changed.
type Documents struct {
	cache *otter.Cache[string, *planned]
}

// planned is a document that is served again and again.
type planned struct {
	document *ast.QueryDocument
	plan     *marshal.Plan
}

// NewDocuments returns an empty cache of at most maxBytes; 0 means 16 MiB.
func NewDocuments(maxBytes int) *Documents {
	if maxBytes <= 0 {
		maxBytes = defaultDocumentCacheBytes
	}
	return &Documents{cache: otter.Must(&otter.Options[string, *planned]{
		MaximumWeight: uint64(maxBytes),
		Executor:      func(work func()) { work() }, // a goroutine for each handful of reads costs more
		Weigher: func(text string, _ *planned) uint32 {
			return uint32(documentBytes + documentBytesPerByte*len(text))
		},
	})}
}

// get returns the document of text, and whether the cache had it.
func (d *Documents) get(text string) (*planned, bool) { return d.cache.GetIfPresent(text) }

// add keeps a validated document, unless its text is longer than 16 KiB. Its plan remembers one
// field for each four bytes of text: a denser text names some of them anew each time.
func (d *Documents) add(text string, document *ast.QueryDocument) {
	if len(text) <= maxCachedDocument {
		d.cache.Set(text, newPlanned(document, len(text)))
	}
}

func newPlanned(document *ast.QueryDocument, length int) *planned {
	return &planned{document, marshal.NewPlan(document, length/bytesPerField)}
}
