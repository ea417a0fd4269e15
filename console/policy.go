package console

import (
	"net/http"
	"strings"
)

// setPolicy allows a page what the explorer needs and no more: scripts, workers and requests of its own origin, styles
// and icons inside the page, which Monaco writes as it runs.
//
// 'self' covers ws: and wss: by the letter of CSP Level 3 §6.7.2.8 but not in every browser, so the host is named for
// both; behind a proxy that ends TLS the server cannot know which of them the browser will use.
func setPolicy(header http.Header, host string) {
	connect := "'self'"
	if plainHost(host) {
		connect += " ws://" + host + " wss://" + host
	}
	header.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"worker-src 'self' blob:",
		"style-src 'self' 'unsafe-inline'",
		"font-src 'self' data:",
		"connect-src " + connect,
		"img-src 'self' data:",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; "))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
}

// plainHost tells whether a Host header may stand in the policy. The header is the client's, and net/http lets through
// ';' and ',', which would end one directive and begin another. A policy has no form for an IPv6 address (CSP Level 3
// §2.3.1), so those are left to 'self'.
func plainHost(host string) bool {
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") == ""
}
