package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// account is a person who starts jobs. Each has a limit of its own on how many in a minute.
type account struct {
	d       *deployment
	email   string
	network string        // of X-Forwarded-For
	trials  *atomic.Int64 // requests that had to be sent again

	mu    sync.Mutex
	token string
	since time.Time // the token's age
}

// client waits no longer than a person would.
var client = http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

const passphrase = "seventeen otters over Winnipeg"

// answer is what a server said.
type answer struct {
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Extensions struct{ Code string }
	}
}

func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	return a.Errors[0].Extensions.Code
}

// later are the refusals that another try may not meet.
var later = []string{"UNAVAILABLE", "RATE_LIMITED", "UNAUTHENTICATED"}

// ask sends an operation to one server after the other until one has done it, and decodes the answer's only
// field into into. Each variant of the operation must be safe to send twice.
func (a *account) ask(ctx context.Context, server int, query string, variables map[string]any, into any) error {
	for try := 0; ; try++ {
		got, err := a.send(ctx, (server+try)%len(a.d.servers), query, variables)
		switch {
		case err == nil && got.code() == "":
			return only(got.Data, into)
		case err == nil && !slices.Contains(later, got.code()):
			return fmt.Errorf("%.60s was answered %+v", query, got.Errors)
		case err == nil && got.code() == "UNAUTHENTICATED":
			if err := a.enter(ctx, "login", map[string]any{"email": a.email, "password": passphrase}); err != nil {
				return err
			}
		}
		a.trials.Add(1)
		if !rest(ctx, 200*time.Millisecond) {
			return fmt.Errorf("%.60s was never done: %w, %v", query, ctx.Err(), err)
		}
	}
}

func (a *account) send(ctx context.Context, server int, query string, variables map[string]any) (got answer, err error) {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return got, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.d.servers[server].addr+"/graphql", bytes.NewReader(body))
	if err != nil {
		return got, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Forwarded-For", a.network)
	if token := a.bearer(); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		return got, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal(content, &got)
}

func (a *account) bearer() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token
}

// freshen signs in again before the token ends, which is good for ten minutes.
func (a *account) freshen(ctx context.Context) error {
	a.mu.Lock()
	old := time.Since(a.since) > 8*time.Minute
	a.mu.Unlock()
	if !old {
		return nil
	}
	return a.enter(ctx, "login", map[string]any{"email": a.email, "password": passphrase})
}

// enter signs in by the mutation register or login.
func (a *account) enter(ctx context.Context, mutation string, input map[string]any) error {
	a.mu.Lock()
	a.token = ""
	a.mu.Unlock()
	var got struct {
		Outcome struct{ AccessToken string }
	}
	kind := map[string]string{"register": "RegisterInput!", "login": "LoginInput!"}[mutation]
	err := a.ask(ctx, 0, `mutation($in: `+kind+`) { `+mutation+`(input: $in) {
		outcome { ... on SessionTokens { accessToken } } userErrors { message } } }`, map[string]any{"in": input}, &got)
	if err == nil && got.Outcome.AccessToken == "" {
		err = errors.New("no token")
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", mutation, a.email, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.since = got.Outcome.AccessToken, time.Now()
	return nil
}

// only decodes the one field of data; a refusal in a payload is an error.
func only(data json.RawMessage, into any) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	for _, field := range fields {
		var payload struct{ UserErrors []struct{ Message string } }
		if err := json.Unmarshal(field, &payload); err == nil && len(payload.UserErrors) > 0 {
			return fmt.Errorf("refused: %s", payload.UserErrors[0].Message)
		}
		return json.Unmarshal(field, into)
	}
	return errors.New("an answer without data")
}
