package transport

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/gqlerror"
)

// preflightHeaders are headers that a page of another origin cannot set without asking the server first.
func preflightHeaders() [5]string {
	return [...]string{"Graphql-Require-Preflight", "Apollo-Require-Preflight", "X-Apollo-Operation-Name", "X-Requested-With", "Authorization"}
}

// preflight refuses a request that any page could make a browser send with the user's cookies: one with
// no header and no content type beyond those a form may have. An EventSource cannot set headers; it may
// come from our own origin or a listed one.
func (e *exchange) preflight() *failure {
	header := e.r.Header
	for _, name := range preflightHeaders() {
		if len(header[name]) > 0 {
			return nil
		}
	}
	if !simpleContentType(header.Get("Content-Type")) {
		return nil
	}
	if e.r.Method == http.MethodGet && e.accept.stream && e.knownPage() {
		return nil
	}
	err := requestError(codeForbidden, "This request could be forged by another site, so it needs a header that such a site cannot set.")
	err.Extensions["hint"] = "Send GraphQL-Require-Preflight: 1, or POST application/json."
	return &failure{status: http.StatusForbidden, errs: gqlerror.List{err}, close: e.r.Method == http.MethodPost}
}

func (e *exchange) knownPage() bool {
	if e.r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return true
	}
	return e.r.Header.Get("Origin") != "" && e.h.originAllowed(e.r)
}

// simpleContentType tells the content types that need no preflight (Fetch §2.2.2), none included.
func simpleContentType(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err != nil || media == "text/plain" || media == "application/x-www-form-urlencoded" || media == mediaForm
}

// originAllowed accepts a missing Origin, the server's own and the listed ones.
func (h *Handler) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.ContainsFunc(h.options.Origins, func(allowed string) bool { return strings.EqualFold(allowed, origin) }) {
		return true
	}
	parsed, err := url.Parse(origin)
	return err == nil && parsed.Host != "" && strings.EqualFold(parsed.Host, r.Host)
}
