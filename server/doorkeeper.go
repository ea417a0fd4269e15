package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/login/oauth"
	"gatehouse/resolvers"
	edge "gatehouse/server/transport"
	"gatehouse/session"
)

// doorkeeper finds out who stands behind a request.
type doorkeeper struct {
	sessions *session.Sessions
	settings Settings
	refused  func() // counts tokens that were; nil: nobody does
}

// Request reads the Authorization header (RFC 6750 §2.1) or, in cookie mode, the cookies.
func (d *doorkeeper) Request(r *http.Request) (edge.Caller, error) {
	v := d.visitor(r)
	if token, err := bearer(r.Header.Get("Authorization")); err != nil || token != "" {
		if err != nil {
			return edge.Caller{}, err
		}
		return pass(v.admit(r.Context(), token))
	}
	cookies, asked := d.cookies(r)
	if !asked {
		return edge.Caller{Visitor: v}, nil
	}
	v.request.Cookies = cookies
	if token := cookies.access(); token != "" {
		caller, err := pass(v.admit(r.Context(), token))
		if fault.Is(err, fault.Unauthenticated) { // a stale cookie is no reason to refuse a sign-in
			return edge.Caller{Visitor: v}, nil
		}
		return caller, err
	}
	return edge.Caller{Visitor: v}, nil
}

// pass lets the holder of a suspended session in as nobody: whatever needs a viewer answers
// STEP_UP_REQUIRED, and what strangers may do, such as signing in again, goes on.
func pass(caller edge.Caller, err error) (edge.Caller, error) {
	if fault.Is(err, fault.StepUpRequired) {
		return caller, nil
	}
	return caller, err
}

// Socket takes the token of connection_init, or the cookie of the handshake.
func (d *doorkeeper) Socket(r *http.Request, authorization string) (edge.Caller, error) {
	token := authorization
	if strings.Contains(authorization, " ") {
		var err error
		if token, err = bearer(authorization); err != nil {
			return edge.Caller{}, err
		}
	}
	if token == "" && d.ours(r) { // stricter than who may open a socket: cookies want a page over TLS
		token = cookieValue(r, accessCookie)
	}
	v := d.visitor(r)
	if token == "" {
		return edge.Caller{Visitor: v}, nil
	}
	return v.admit(r.Context(), token)
}

// visitor is who stands behind a request: the zero viewer, until admitted.
type visitor struct {
	sessions *session.Sessions
	refused  func()
	viewer   viewer.Viewer
	request  resolvers.Request
}

// deviceHeader names the device, as login's device.id does. It may be left out.
const deviceHeader = "Gatehouse-Device"

func (d *doorkeeper) visitor(r *http.Request) *visitor {
	return &visitor{
		sessions: d.sessions, refused: d.refused,
		request: resolvers.Request{Origin: session.Origin{
			Agent: r.UserAgent(), IP: d.address(r), DeviceID: r.Header.Get(deviceHeader),
		}},
	}
}

func (v *visitor) admit(ctx context.Context, token string) (edge.Caller, error) {
	who, credential, err := v.sessions.Admit(ctx, token, v.request.Origin)
	if fault.Is(err, fault.Unauthenticated) && v.refused != nil {
		v.refused()
	}
	if err != nil {
		v.viewer = who // nobody, or the holder of a suspended session
		return edge.Caller{Visitor: v}, err
	}
	v.viewer = who
	return edge.Caller{Visitor: v, Subject: credential.Subject(), ExpiresAt: credential.ExpiresAt}, nil
}

// Attach implements transport.Visitor.
func (v *visitor) Attach(ctx context.Context) context.Context {
	return resolvers.WithCaller(ctx, v.viewer, &v.request)
}

// Watch implements transport.Visitor. An anonymous caller has no session that could end.
func (v *visitor) Watch(ended func(reason string)) (stop func()) {
	if v.viewer.Anonymous() {
		return func() {}
	}
	return v.sessions.WatchViewer(v.viewer, func(reason session.Reason) {
		if reason == session.Suspended {
			ended(string(fault.StepUpRequired))
			return
		}
		ended(string(reason))
	})
}

// bearer returns the token of an Authorization header, "" when there is no header.
func bearer(header string) (string, error) {
	if header == "" {
		return "", nil
	}
	scheme, token, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fault.New(fault.Unauthenticated, "", "The Authorization header is not of the form: Bearer TOKEN.")
	}
	return strings.TrimSpace(token), nil
}

// address returns where the request comes from. X-Forwarded-For is read from its end, as far as
// trusted proxies have written it.
func (d *doorkeeper) address(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip := remote.Addr().Unmap()
	if len(d.settings.proxies) == 0 {
		return ip
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && d.trusted(ip); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil { // some proxies write the port too
			withPort, failed := netip.ParseAddrPort(strings.TrimSpace(hops[i]))
			if failed != nil {
				break
			}
			hop = withPort.Addr()
		}
		ip = hop.Unmap()
	}
	return ip
}

// peer names whom an open socket counts under: the IPv4 address, the /64 of an IPv6 address, which one
// customer of a provider has at the least.
func (d *doorkeeper) peer(r *http.Request) string {
	ip := d.address(r).WithZone("")
	if d.settings.MaxSocketsPerIP == 0 || !ip.IsValid() || d.settings.MaxSocketsPerIP < 0 && ip.IsLoopback() {
		return ""
	}
	if ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64) // fails for more bits than there are
	return prefix.String()
}

func (d *doorkeeper) trusted(ip netip.Addr) bool {
	return slices.ContainsFunc(d.settings.proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// The cookies of cookie mode. The prefix binds them to this very host and to TLS (RFC 6265bis §4.1.3);
// browsers count http://localhost as secure.
const (
	accessCookie  = "__Host-gh_access"
	refreshCookie = "__Host-gh_refresh"
	deviceCookie  = "__Host-gh_device" // of a trusted device; it outlives sessions
)

// sessionHeader asks for cookie mode. That it is a custom header makes a foreign page's browser ask
// first, which is half of the defence against CSRF; the other half is the origin.
const sessionHeader = "Gatehouse-Session"

// jar is the cookies of one request and its answer.
type jar struct {
	r *http.Request
	w http.ResponseWriter
}

type writerKey struct{}

// cookies returns the request's jar when it asks for cookie mode from where that is allowed.
func (d *doorkeeper) cookies(r *http.Request) (jar, bool) {
	w, ok := r.Context().Value(writerKey{}).(http.ResponseWriter)
	if !ok || !strings.EqualFold(r.Header.Get(sessionHeader), "cookie") || !d.ours(r) {
		return jar{}, false
	}
	return jar{r, w}, true
}

// ours reports whether the request comes from a page of this server or of an allowed origin, or
// from no page at all.
func (d *doorkeeper) ours(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || origin == d.settings.PublicURL || slices.Contains(d.settings.AllowedOrigins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && sameHost(u, r.Host)
}

// sameHost reports whether a page of u is served by host itself, on plain HTTP in development.
func sameHost(u *url.URL, host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip, _ := netip.ParseAddr(name)
	local := name == "localhost" || ip.IsLoopback()
	return u.Host == host && (u.Scheme == "https" || local)
}

func cookieValue(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

func (j jar) access() string { return cookieValue(j.r, accessCookie) }

// Refresh implements resolvers.Cookies.
func (j jar) Refresh() string { return cookieValue(j.r, refreshCookie) }

// Set implements resolvers.Cookies. A session that was raised keeps the refresh token that it has.
func (j jar) Set(t session.Tokens) {
	j.put(accessCookie, t.Access, t.AccessExpiresAt)
	if t.Refresh != "" {
		j.put(refreshCookie, t.Refresh, t.RefreshExpiresAt)
	}
}

// Device implements resolvers.Cookies.
func (j jar) Device() string { return cookieValue(j.r, deviceCookie) }

// SetDevice implements resolvers.Cookies.
func (j jar) SetDevice(token string, until time.Time) { j.put(deviceCookie, token, until) }

// Clear implements resolvers.Cookies.
func (j jar) Clear() {
	j.put(accessCookie, "", time.Unix(1, 0))
	j.put(refreshCookie, "", time.Unix(1, 0))
}

// browserCookie binds sign-ins through a provider to the browser that began them. Its value opens nothing
// by itself.
const browserCookie = "__Host-gh_oauth"

// Browser implements resolvers.Cookies.
func (j jar) Browser() string { return cookieValue(j.r, browserCookie) }

// SetBrowser implements resolvers.Cookies.
func (j jar) SetBrowser(secret string) {
	j.put(browserCookie, secret, time.Now().Add(oauth.FlowLifetime+login.ExchangeLifetime+time.Minute))
}

func (j jar) put(name, value string, until time.Time) {
	age := int(time.Until(until) / time.Second)
	if age <= 0 {
		age = -1
	}
	http.SetCookie(j.w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age, Expires: until,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
