package main

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"gatehouse/internal/fault"
	"gatehouse/login"
	"gatehouse/login/oauth"
	"gatehouse/session"
)

// maxCallbackBytes bounds the form that a provider's page posts: code, state, and Apple's ID token and name.
const maxCallbackBytes = 64 << 10

// serveCallback takes a provider's answer (RFC 6749 §4.1.2, OAuth 2.0 Form Post Response Mode) and sends
// the browser on to the page that was chosen when the sign-in began.
func (a *app) serveCallback(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead { // who only looks must not use the answer up
		http.Error(w, "Use GET.", http.StatusMethodNotAllowed)
		return
	}
	parameters, err := callbackParameters(w, r)
	if err != nil {
		http.Error(w, "The provider's answer cannot be read.", http.StatusBadRequest)
		return
	}
	keeper := &doorkeeper{settings: a.settings}
	to, err := a.identities.Answer(r.Context(), login.Callback{
		Provider: r.PathValue("provider"), FormPost: r.Method == http.MethodPost, Browser: cookieValue(r, browserCookie),
		Answer: oauth.Answer{
			Code: parameters.Get("code"), State: parameters.Get("state"), Iss: parameters.Get("iss"),
			Error: parameters.Get("error"), ErrorDescription: parameters.Get("error_description"), User: parameters.Get("user"),
		},
		Client: login.Client{Origin: session.Origin{Agent: r.UserAgent(), IP: keeper.address(r)}},
	})
	if err != nil {
		a.refuseCallback(w, r, err)
		return
	}
	w.Header().Set("Location", to) // http.Redirect would write the code into a body too
	w.WriteHeader(http.StatusSeeOther)
}

// callbackParameters returns the parameters of the answer. None may stand there twice (RFC 6749 §3.1).
func callbackParameters(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	parameters, err := url.ParseQuery(r.URL.RawQuery)
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxCallbackBytes)
		err = r.ParseForm()
		parameters = r.PostForm
	}
	for name, values := range parameters {
		if len(values) > 1 {
			err = errors.Join(err, fmt.Errorf("%q stands there %d times", name, len(values)))
		}
	}
	return parameters, err
}

// refuseCallback tells the person, on a plain page, why it cannot go on: where they came from is not known.
func (a *app) refuseCallback(w http.ResponseWriter, r *http.Request, err error) {
	f, ok := fault.As(err)
	if !ok {
		a.logger.ErrorContext(r.Context(), "a provider's answer was not taken", "error", err)
		http.Error(w, "Something went wrong on the server.", http.StatusInternalServerError)
		return
	}
	status := http.StatusBadRequest
	switch f.Code {
	case fault.RateLimited:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
		status = http.StatusTooManyRequests
	case fault.Invalid:
		status = http.StatusNotFound
	}
	http.Error(w, string(f.Code)+": "+f.Message, status)
}
