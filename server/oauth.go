package main

import (
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// maxTokenRequest bounds the form of a token request, in bytes.
const maxTokenRequest = 8 << 10

// grantTypes are what the token endpoint gives tokens for.
var grantTypes = []string{"client_credentials"}

// refusedGrants are the grants that RFC 9700 §2.1.2 and §2.4 advise against, and what to use instead.
var refusedGrants = map[string]string{
	"password":           "The password grant shows a person's password to the client and knows no second factor (RFC 9700 section 2.4). Sign in with the mutation login.",
	"implicit":           "The implicit grant puts tokens into addresses (RFC 9700 section 2.1.2). Sign in with the mutation login.",
	"refresh_token":      "A service account asks for a new token with its secret (RFC 6749 section 4.4.3). Sessions are renewed by the mutation refreshSession.",
	"authorization_code": "This server gives out no authorization codes. Sign in with the mutation login.",
}

// tokenError is an error answer of the token endpoint (RFC 6749 §5.2).
type tokenError struct {
	status int
	Code   string `json:"error"`
	Words  string `json:"error_description"`

	retryAfter int  // seconds; 0: no advice
	challenge  bool // the client used the Authorization header
}

func (e *tokenError) Error() string { return e.Code + ": " + e.Words }

func badTokenRequest(words string) *tokenError {
	return &tokenError{status: http.StatusBadRequest, Code: "invalid_request", Words: words}
}

// serveToken is the token endpoint: access tokens of service accounts by the client credentials grant.
func (a *app) serveToken(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store") // RFC 6749 §5.1
	h.Set("Pragma", "no-cache")
	request, refused := readTokenRequest(w, r)
	if refused != nil {
		writeTokenError(w, refused)
		return
	}
	keeper := &doorkeeper{settings: a.settings}
	request.Origin = session.Origin{Agent: r.UserAgent(), IP: keeper.address(r)}
	granted, err := a.sessions.Grant(r.Context(), request)
	if err != nil {
		a.refuseToken(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": granted.Access, "token_type": "Bearer",
		"expires_in": int(granted.ExpiresIn.Seconds()), "scope": scopeText(granted.Scopes),
	})
}

// readTokenRequest reads the form and the client's credentials.
func readTokenRequest(w http.ResponseWriter, r *http.Request) (session.GrantRequest, *tokenError) {
	none := session.GrantRequest{}
	if r.URL.RawQuery != "" { // addresses end in logs (RFC 6749 §2.3.1)
		return none, badTokenRequest("Parameters stand in the body, not in the address.")
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return none, badTokenRequest("The body is a form, application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTokenRequest))
	if err != nil {
		return none, badTokenRequest("The body cannot be read, or has more than 8 KiB.")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return none, badTokenRequest("The body is no form.")
	}
	for name, values := range form {
		if len(values) > 1 { // RFC 6749 §3.2
			return none, badTokenRequest("A parameter stands twice.")
		}
		if values[0] == "" { // as if it were left out
			delete(form, name)
		}
	}
	if refused := checkGrantType(form.Get("grant_type")); refused != nil {
		return none, refused
	}
	request, refused := clientOf(r, form)
	if refused != nil {
		return none, refused
	}
	for _, name := range strings.Fields(form.Get("scope")) {
		request.Scopes = append(request.Scopes, viewer.Scope(name))
	}
	return request, nil
}

func checkGrantType(grant string) *tokenError {
	switch {
	case grant == grantTypes[0]:
		return nil
	case grant == "":
		return badTokenRequest("grant_type is missing.")
	}
	words := refusedGrants[grant]
	if words == "" {
		words = "The grant of this server is client_credentials."
	}
	return &tokenError{status: http.StatusBadRequest, Code: "unsupported_grant_type", Words: words}
}

// clientOf reads the client's id and secret from the Authorization header or the form, not both
// (RFC 6749 §2.3). In the header both are encoded as in a form (§2.3.1).
func clientOf(r *http.Request, form url.Values) (session.GrantRequest, *tokenError) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if r.Header.Get("Authorization") == "" {
		if id == "" || secret == "" {
			return session.GrantRequest{}, unknownClient(false)
		}
		return session.GrantRequest{Client: viewer.MachineID(id), Secret: secret}, nil
	}
	if secret != "" {
		return session.GrantRequest{}, badTokenRequest("Show the secret once: in the Authorization header or in the body.")
	}
	user, password, basic := r.BasicAuth()
	name, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if !basic || errors.Join(err1, err2) != nil {
		return session.GrantRequest{}, unknownClient(true)
	}
	if id != "" && id != name {
		return session.GrantRequest{}, badTokenRequest("The header and the body name two clients.")
	}
	return session.GrantRequest{Client: viewer.MachineID(name), Secret: secret}, nil
}

func unknownClient(challenge bool) *tokenError {
	return &tokenError{
		status: http.StatusUnauthorized, Code: "invalid_client", Words: "The client or its secret is not known.", challenge: challenge,
	}
}

// refuseToken answers what Grant has refused.
func (a *app) refuseToken(w http.ResponseWriter, r *http.Request, err error) {
	f, ok := fault.As(err)
	switch {
	case ok && f.Code == fault.InvalidCredentials:
		writeTokenError(w, unknownClient(r.Header.Get("Authorization") != ""))
	case ok && f.Code == fault.Invalid:
		writeTokenError(w, &tokenError{status: http.StatusBadRequest, Code: "invalid_scope", Words: f.Message})
	case ok && f.Code == fault.RateLimited:
		writeTokenError(w, &tokenError{
			status: http.StatusTooManyRequests, Code: "temporarily_unavailable", Words: f.Message,
			retryAfter: int(math.Ceil(f.RetryAfter.Seconds())),
		})
	default:
		a.logger.ErrorContext(r.Context(), "no token was granted", "error", err)
		writeTokenError(w, &tokenError{status: http.StatusInternalServerError, Code: "server_error", Words: "Something went wrong on the server."})
	}
}

func writeTokenError(w http.ResponseWriter, e *tokenError) {
	if e.challenge {
		w.Header().Set("WWW-Authenticate", `Basic realm="gatehouse", charset="UTF-8"`)
	}
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	writeJSON(w, e.status, e)
}

// scopeNames are all scopes, for the discovery document.
func scopeNames() []string {
	return strings.Fields(scopeText(viewer.Granted([]viewer.Role{viewer.Admin})))
}

func scopeText(scopes []viewer.Scope) string {
	names := make([]string, len(scopes))
	for i, scope := range scopes {
		names[i] = string(scope)
	}
	return strings.Join(names, " ")
}
