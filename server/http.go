package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jub0bs/cors"

	"gatehouse/console"
	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/telemetry"
	"gatehouse/queue"
	"gatehouse/schema"
)

// The bounds of an HTTP request; the transports set their own for what may take longer.
const (
	headerTimeout   = 20 * time.Second // of the body too, which small ones share: one timer a request less
	readTimeout     = headerTimeout
	writeTimeout    = time.Minute
	idleTimeout     = 2 * time.Minute
	maxHeaderBytes  = 32 << 10
	downloadTimeout = time.Hour
)

// listen opens the address; who connects before the server serves waits. Port 0 becomes a real one,
// in links and tokens too.
func (a *app) listen(ctx context.Context) error {
	if !a.settings.listens {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.settings.Addr)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", a.settings.Addr, err)
	}
	a.onClose(func() { _ = l.Close() })
	a.listener, a.settings = l, a.settings.at(l.Addr())
	return nil
}

// serveWith builds the HTTP server over handler.
func (a *app) serveWith(handler http.Handler) {
	a.server = &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
}

// routes is everything that serve answers.
func (a *app) routes() (http.Handler, error) {
	graphql, err := a.crossOrigin(a.edge)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/graphql", graphql)
	mux.Handle("/{$}", console.Front())
	explorer := console.Explorer()
	mux.Handle("/explorer", explorer)
	mux.Handle("/explorer/", explorer)
	mux.HandleFunc("GET /schema.graphql", serveText("application/graphql; charset=utf-8", schema.SDL()))
	mux.HandleFunc("GET /.well-known/jwks.json", a.serveJWKS)
	mux.HandleFunc("GET /.well-known/openid-configuration", a.serveDiscovery)
	mux.HandleFunc("POST /oauth/token", a.serveToken)
	mux.HandleFunc("GET /artifacts/{id}", a.serveArtifact)
	links, err := a.linkPages()
	if err != nil {
		return nil, err
	}
	mux.Handle("/links/", links)
	mux.HandleFunc("GET /oauth/callback/{provider}", a.serveCallback)
	mux.HandleFunc("POST /oauth/callback/{provider}", a.serveCallback)
	if a.firstAdmin != nil {
		mux.Handle("GET "+firstAdminPath, a.firstAdmin)
		mux.Handle("POST "+firstAdminPath, a.firstAdmin)
	}
	if a.outbox != nil {
		page := a.outbox.Page()
		mux.Handle("GET /outbox", page)
		mux.Handle("GET /outbox/", page)
	}
	a.addHealth(mux)
	return a.envelope(mux), nil
}

// addHealth adds what orchestrators and Prometheus ask for.
func (a *app) addHealth(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", serveText("text/plain; charset=utf-8", "ok\n"))
	mux.HandleFunc("GET /readyz", a.serveReadiness)
	mux.Handle("GET /metrics", a.guardMetrics(a.metrics.Handler()))
}

// crossOrigin lets the pages of allowed origins call next, credentials included.
func (a *app) crossOrigin(next http.Handler) (http.Handler, error) {
	if len(a.settings.AllowedOrigins) == 0 {
		return next, nil
	}
	m, err := cors.NewMiddleware(cors.Config{
		Origins:         a.settings.AllowedOrigins,
		Credentialed:    true,
		Methods:         []string{http.MethodGet, http.MethodPost},
		MaxAgeInSeconds: 600,
		RequestHeaders: []string{
			"Authorization", "Content-Type", sessionHeader, deviceHeader, "GraphQL-Require-Preflight", "Apollo-Require-Preflight",
			"X-Apollo-Operation-Name", "X-Requested-With", "X-Request-Id",
		},
		ResponseHeaders: []string{"X-Request-Id", "Retry-After"},
		ExtraConfig:     cors.ExtraConfig{DangerouslyTolerateInsecureOrigins: !a.settings.production()},
	})
	if err != nil {
		return nil, fmt.Errorf("allowed-origins: %w", err)
	}
	return m.Wrap(next), nil
}

// The headers of every answer. A page sets its own policy over the last one.
var (
	noSniff     = []string{"nosniff"}
	noReferrer  = []string{"no-referrer"}
	nothingRuns = []string{"default-src 'none'; frame-ancestors 'none'"}
	strictHTTPS = []string{"max-age=31536000"}
)

// envelope gives every request an id and every answer its security headers.
func (a *app) envelope(next http.Handler) http.Handler {
	https := a.settings.public.Scheme == "https"
	keeper := &doorkeeper{settings: a.settings}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := given(r, keeper)
		if id == "" {
			id = newRequestID()
		}
		h := w.Header()
		h["X-Request-Id"] = []string{id}
		h["X-Content-Type-Options"] = noSniff
		h["Referrer-Policy"] = noReferrer
		h["Content-Security-Policy"] = nothingRuns
		if https {
			h["Strict-Transport-Security"] = strictHTTPS
		}
		ctx := telemetry.WithRequestID(r.Context(), id)
		if r.Header.Get(sessionHeader) != "" {
			ctx = context.WithValue(ctx, writerKey{}, w)
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// given returns the request's id that a trusted proxy has chosen, "" when there is none: the audit
// names requests by it, so nobody else may choose.
func given(r *http.Request, keeper *doorkeeper) string {
	id := r.Header.Get("X-Request-Id")
	if len(id) < 8 || len(id) > 64 {
		return ""
	}
	if remote, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !keeper.trusted(remote.Addr().Unmap()) {
		return ""
	}
	if strings.IndexFunc(id, func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-')
	}) >= 0 {
		return ""
	}
	return id
}

// newRequestID draws an id of 80 bits.
func newRequestID() string {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	var id [16]byte
	n, m := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		id[i], id[8+i] = digits[n&31], digits[m&31]
		n, m = n>>5, m>>5
	}
	return string(id[:])
}

func serveText(mediaType, text string) http.HandlerFunc {
	length := strconv.Itoa(len(text))
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Content-Length", length)
		_, _ = w.Write([]byte(text)) // the client has gone, or it has it
	}
}

func (a *app) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	_, _ = w.Write(a.keys.JWKS()) // the client has gone, or it has it
}

// serveDiscovery tells verifiers of access tokens what they need (OpenID Connect Discovery §3, as
// far as a server that signs tokens and is no OpenID provider can).
func (a *app) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                a.settings.PublicURL,
		"jwks_uri":                              a.settings.PublicURL + "/.well-known/jwks.json",
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": a.keys.Set().Algorithms(),
		"response_types_supported":              []string{},
		"token_endpoint":                        a.settings.PublicURL + "/oauth/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"grant_types_supported":                 grantTypes,
		"scopes_supported":                      scopeNames(),
	})
}

// serveArtifact sends a file of a job to whoever holds the signed link.
func (a *app) serveArtifact(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	signer, err := blob.NewSigner(a.secrets.links)
	if err == nil {
		err = signer.Verify(id, r.URL.RawQuery, time.Now())
	}
	switch {
	case errors.Is(err, blob.ErrExpired):
		http.Error(w, "The link has expired. Ask the job for a fresh one.", http.StatusGone)
		return
	case err != nil:
		http.Error(w, "The link is not one of ours.", http.StatusForbidden)
		return
	}
	file, err := a.queue.File(r.Context(), queue.FileID(id))
	if err == nil {
		err = a.sendFile(w, r, file)
	}
	switch {
	case fault.Is(err, fault.NotFound), errors.Is(err, blob.ErrNotFound):
		http.Error(w, "The file is gone.", http.StatusNotFound)
	case errors.Is(err, blob.ErrStorage):
		a.logger.WarnContext(r.Context(), "an artifact was not sent", "artifact", id, "error", err)
		http.Error(w, "The files cannot be reached at the moment. Try again soon.", http.StatusServiceUnavailable)
	case err != nil:
		a.logger.ErrorContext(r.Context(), "an artifact was not sent", "artifact", id, "error", err)
		http.Error(w, "Something went wrong on the server.", http.StatusInternalServerError)
	}
}

func (a *app) sendFile(w http.ResponseWriter, r *http.Request, file queue.File) error {
	content, err := a.queue.Open(r.Context(), file)
	if err != nil {
		return err
	}
	defer content.Close()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadTimeout)) // as far as the connection can
	h := w.Header()
	h.Set("Content-Type", file.MediaType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": file.Name}))
	h.Set("Cache-Control", "private, max-age=900")
	h.Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", file.SHA256)))
	http.ServeContent(w, r, "", file.CreatedAt, content)
	return nil
}

// readiness is how one dependency is.
type readiness struct {
	Status string `json:"status"` // "ok", "away"
	Error  string `json:"error,omitempty"`
}

// serveReadiness says whether requests should be sent here. Without Redis or the files the server goes
// on, so their absence is told and does not count; without the database it cannot.
func (a *app) serveReadiness(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	parts := map[string]readiness{"database": check(a.db.Ping(ctx)), "files": check(a.files.Ping(ctx))}
	if a.redis != nil {
		parts["redis"] = check(pingRedis(ctx, a.redis))
		parts["workRedis"] = check(pingRedis(ctx, a.workRedis))
	}
	status, code := "ready", http.StatusOK
	switch {
	case a.draining.Load():
		status, code = "draining", http.StatusServiceUnavailable
	case parts["database"].Status != "ok":
		status, code = "away", http.StatusServiceUnavailable
	case parts["files"].Status != "ok", a.redis != nil && (parts["redis"].Status != "ok" || parts["workRedis"].Status != "ok"):
		status = "degraded"
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, code, map[string]any{"status": status, "dependencies": parts})
}

// check hides what an error says: it may name hosts.
func check(err error) readiness {
	if err != nil {
		return readiness{Status: "away", Error: "does not answer"}
	}
	return readiness{Status: "ok"}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client has gone, or it has it
}

// guardMetrics asks for the token where one is set. In production nobody gets figures without one.
func (a *app) guardMetrics(next http.Handler) http.Handler {
	if a.settings.MetricsToken == "" {
		if a.settings.production() {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "Set metrics-token to read the metrics of a server in production.", http.StatusForbidden)
			})
		}
		return next
	}
	want := []byte("Bearer " + a.settings.MetricsToken)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "The metrics need their token.", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// profiles serves pprof at the debug address until ctx ends.
func (a *app) profiles(ctx context.Context) error {
	if a.settings.DebugAddr == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.settings.DebugAddr)
	if err != nil {
		return fmt.Errorf("listen at debug-addr: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	a.onClose(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }() // ends with Close
	a.logger.Info("profiles", "url", "http://"+l.Addr().String()+"/debug/pprof/")
	return nil
}
