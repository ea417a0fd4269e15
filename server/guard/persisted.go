package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

const (
	defaultPersistedBytes = 8 << 20
	persistedBytes        = 256 // what an entry takes beside its text
	maxAllowListBytes     = 64 << 20
)

// PersistedOptions say how documents are found by hash. The zero value: automatic persisted queries
// on, no allow-list.
type PersistedOptions struct {
	// AllowList maps a hash to its document; see ReadAllowList.
	AllowList map[string]string
	// OnlyAllowListed refuses every document that is not on the list, also in full text, and turns
	// automatic persisted queries off. It needs an AllowList.
	OnlyAllowListed bool
	// Off turns automatic persisted queries off; an AllowList is still served.
	Off bool
	// CacheBytes bounds the memory of automatic persisted queries; 0 means 8 MiB.
	CacheBytes int
}

// ReadAllowList reads a JSON object of hash to document, at most 64 MiB. A key of 64 hexadecimal digits
// must be the SHA-256 of its document; other keys are taken as they are.
func ReadAllowList(r io.Reader) (map[string]string, error) {
	var list map[string]string
	decoder := json.NewDecoder(io.LimitReader(r, maxAllowListBytes))
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("read allow-list: %w", err)
	}
	for key, document := range list {
		if raw, err := hex.DecodeString(key); err == nil && len(raw) == sha256.Size && !strings.EqualFold(key, hashOf(document)) {
			return nil, fmt.Errorf("read allow-list: key %s is not the SHA-256 of its document, %s", key, hashOf(document))
		}
	}
	return list, nil
}

// learned is the text of a document that a client has sent. (A pointer to it shares the cache's machine
// code with the other caches.)
type learned struct{ text string }

// persisted finds documents by their hash. It speaks Apollo's protocol: extensions.persistedQuery holds
// version 1 and sha256Hash; a hash alone asks for a known document, a hash with its document makes it known.
type persisted struct {
	options PersistedOptions
	allowed map[string]bool // documents of the list, by text
	learned *otter.Cache[string, *learned]
}

func newPersisted(options PersistedOptions) (*persisted, error) {
	if options.OnlyAllowListed && len(options.AllowList) == 0 {
		return nil, errors.New("only allow-listed documents are to be served, but the allow-list is empty")
	}
	if options.CacheBytes <= 0 {
		options.CacheBytes = defaultPersistedBytes
	}
	p := &persisted{options: options, allowed: make(map[string]bool, len(options.AllowList))}
	for _, document := range options.AllowList {
		p.allowed[document] = true
	}
	p.learned = otter.Must(&otter.Options[string, *learned]{
		MaximumWeight: uint64(options.CacheBytes),
		Executor:      func(work func()) { work() }, // a goroutine for each handful of reads costs more
		Weigher:       func(_ string, document *learned) uint32 { return uint32(persistedBytes + len(document.text)) },
	})
	return p, nil
}

// document puts the document behind a hash into the request. It returns the hash under which the
// document of the request is to be learned once it has been validated, "" for none.
func (p *persisted) document(request *graphql.RawParams) (learn string, _ *gqlerror.Error) {
	hash, given, err := hashIn(request.Extensions)
	if err != nil {
		return "", err
	}
	if given && request.Query == "" {
		return "", p.find(hash, request)
	}
	if p.options.OnlyAllowListed && !p.allowed[request.Query] {
		return "", refusal(CodeNotOnAllowList, "This server answers only documents of its allow-list.", "Send the hash of a released document.")
	}
	if !given {
		return "", nil
	}
	return p.learnable(hash, request.Query)
}

func (p *persisted) find(hash string, request *graphql.RawParams) *gqlerror.Error {
	if document, ok := p.options.AllowList[hash]; ok {
		request.Query = document
		return nil
	}
	if p.options.OnlyAllowListed {
		return refusal(CodeNotOnAllowList, "This server answers only documents of its allow-list.", "Send the hash of a released document.")
	}
	if p.options.Off {
		return refusal(CodeHashNotSupported, messageHashNotEnabled, "")
	}
	document, ok := p.learned.GetIfPresent(hash)
	if !ok {
		return refusal(CodeHashNotFound, messageHashNotFound, "")
	}
	request.Query = document.text
	return nil
}

// learnable returns the hash when the document may be learned.
func (p *persisted) learnable(hash, document string) (string, *gqlerror.Error) {
	if hashOf(document) != hash {
		return "", refusal(CodeBadInput, "extensions.persistedQuery.sha256Hash is not the SHA-256 of the document.", "")
	}
	if p.options.Off || p.options.OnlyAllowListed || len(document) > maxCachedDocument {
		return "", nil
	}
	return hash, nil
}

// hashIn reads extensions.persistedQuery; given is false when there is none.
func hashIn(extensions map[string]any) (hash string, given bool, _ *gqlerror.Error) {
	entry, given := extensions["persistedQuery"]
	if !given || entry == nil {
		return "", false, nil
	}
	object, ok := entry.(map[string]any)
	if !ok {
		return "", false, refusal(CodeBadInput, "extensions.persistedQuery must be an object.", "")
	}
	if version := fmt.Sprint(object["version"]); version != "1" {
		return "", false, refusal(CodeBadInput, "extensions.persistedQuery.version must be 1.", "")
	}
	hash, ok = object["sha256Hash"].(string)
	if !ok || hash == "" || len(hash) > 2*sha256.Size {
		return "", false, refusal(CodeBadInput, "extensions.persistedQuery.sha256Hash must be a hash of at most 64 characters.", "")
	}
	return hash, true, nil
}

func hashOf(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:])
}
