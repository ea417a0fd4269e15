package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const (
	maxTokenBytes = 64 << 10 // of each token
	maxGranted    = 64       // scopes
)

// Tokens are the provider's keys to the person's data there. Keep them sealed.
type Tokens struct {
	Access    string    `json:"access"`    // at most 64 KiB
	Refresh   string    `json:"refresh"`   // at most 64 KiB; "": the provider gave none
	Type      string    `json:"type"`      // always Bearer
	ExpiresAt time.Time `json:"expiresAt"` // of Access; zero: the provider did not say
	Scopes    []string  `json:"scopes"`    // granted, or asked for when the provider did not say
}

// String hides the tokens.
func (t Tokens) String() string { return "oauth tokens" }

// LogValue hides the tokens.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// exchange redeems code (RFC 6749 §4.1.3) with the flow's verifier. The ID token is "" for GitHub.
func (p *Provider) exchange(ctx context.Context, flow Flow, code string) (Tokens, string, error) {
	client, err := p.oauthClient(ctx)
	if err != nil {
		return Tokens{}, "", err
	}
	client.RedirectURL = flow.RedirectURL
	token, err := client.Exchange(p.withClient(ctx), code, oauth2.VerifierOption(flow.Verifier))
	if err != nil {
		return Tokens{}, "", p.notGiven(ctx, Exchange, err)
	}
	tokens, err := p.tokens(Exchange, token)
	if err != nil {
		return Tokens{}, "", err
	}
	idToken, _ := token.Extra("id_token").(string)
	switch {
	case p.config.Kind == GitHub:
		return tokens, "", nil
	case idToken == "":
		return tokens, "", p.fail(Exchange, IDTokenMissing, "the answer has no id_token")
	case len(idToken) > maxTokenBytes:
		return tokens, "", p.fail(Exchange, AnswerTooLarge, "id_token has more than %d bytes", maxTokenBytes)
	}
	return tokens, idToken, nil
}

// Refresh trades a refresh token for new tokens (RFC 6749 §6). Where the provider sends no new refresh
// token the old one stays good and is returned. Many providers accept a refresh token once: call this
// once at a time for a row, and store the answer before anything else. Error REFRESH_INVALID: the
// person has to sign in again.
func (p *Provider) Refresh(ctx context.Context, refreshToken string) (Tokens, error) {
	tokens, err := p.refresh(ctx, refreshToken)
	if err != nil {
		return Tokens{}, p.report(ctx, "", err, refreshToken, tokens.Access, tokens.Refresh)
	}
	p.passed(ctx, "", "refreshed")
	return tokens, nil
}

func (p *Provider) refresh(ctx context.Context, refreshToken string) (Tokens, error) {
	if refreshToken == "" {
		return Tokens{}, p.fail(Refresh, RefreshInvalid, "there is no refresh token")
	}
	client, err := p.oauthClient(ctx)
	if err != nil {
		return Tokens{}, err
	}
	token, err := client.TokenSource(p.withClient(ctx), &oauth2.Token{RefreshToken: refreshToken}).Token()
	if err != nil {
		return Tokens{}, p.notGiven(ctx, Refresh, err)
	}
	return p.tokens(Refresh, token)
}

// Revoke makes the provider forget the tokens (RFC 7009; GitHub has a call of its own). Error
// UNSUPPORTED: the provider has no such endpoint.
func (p *Provider) Revoke(ctx context.Context, tokens Tokens) error {
	if err := p.revoke(ctx, tokens); err != nil {
		return p.report(ctx, "", err, tokens.Access, tokens.Refresh)
	}
	p.passed(ctx, "", "revoked")
	return nil
}

func (p *Provider) revoke(ctx context.Context, tokens Tokens) error {
	m, err := p.metadata.get(ctx)
	if err != nil {
		return err
	}
	var request *http.Request
	if p.config.Kind == GitHub {
		request, err = p.gitHubRevocation(ctx, tokens.Access)
	} else {
		request, err = p.revocation(ctx, m, tokens)
	}
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return p.unreached(ctx, Revoke, err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		return nil
	}
	body, _ := io.ReadAll(response.Body) // in memory already
	var refusal struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &refusal) == nil && refusal.Error != "" {
		return p.said(Revoke, meaning(Revoke, refusal.Error), refusal.Error, refusal.Description)
	}
	return p.status(Revoke, response.StatusCode, response.Header.Get("Content-Type"))
}

// revocation is the request of RFC 7009 §2.1. The refresh token takes the access tokens with it.
func (p *Provider) revocation(ctx context.Context, m metadata, tokens Tokens) (*http.Request, error) {
	if m.RevocationURL == "" {
		return nil, p.fail(Revoke, Unsupported, "the provider has no revocation endpoint")
	}
	form := url.Values{"token": {tokens.Refresh}, "token_type_hint": {"refresh_token"}}
	if tokens.Refresh == "" {
		form = url.Values{"token": {tokens.Access}, "token_type_hint": {"access_token"}}
	}
	client, err := p.oauthClient(ctx)
	if err != nil {
		return nil, err
	}
	basic := client.Endpoint.AuthStyle == oauth2.AuthStyleInHeader
	if !basic {
		form.Set("client_id", client.ClientID)
		if client.ClientSecret != "" {
			form.Set("client_secret", client.ClientSecret)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.RevocationURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, p.fail(Revoke, ConfigWrong, "the revocation endpoint is no URL")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic {
		request.SetBasicAuth(url.QueryEscape(client.ClientID), url.QueryEscape(client.ClientSecret)) // RFC 6749 §2.3.1
	}
	return request, nil
}

// oauthClient is our client at the token endpoint. How it proves itself is settled, never tried out: a
// second try would send the code twice.
func (p *Provider) oauthClient(ctx context.Context) (oauth2.Config, error) {
	m, err := p.metadata.get(ctx)
	if err != nil {
		return oauth2.Config{}, err
	}
	style := oauth2.AuthStyleInParams
	if p.authMethod(m) == Basic {
		style = oauth2.AuthStyleInHeader
	}
	secret := p.config.ClientSecret
	if p.config.Kind == Apple {
		if secret, err = p.appleSecret(); err != nil {
			return oauth2.Config{}, err
		}
	}
	return oauth2.Config{
		ClientID: p.config.ClientID, ClientSecret: secret, Scopes: p.config.Scopes,
		Endpoint: oauth2.Endpoint{TokenURL: m.TokenURL, AuthStyle: style},
	}, nil
}

// withClient makes package oauth2 use our client, with its bounds.
func (p *Provider) withClient(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, p.client)
}

// notGiven returns the error of a token endpoint that gave no token.
func (p *Provider) notGiven(ctx context.Context, step Step, err error) *Error {
	var refusal *oauth2.RetrieveError
	var network *url.Error
	switch {
	case errors.As(err, &network):
		return p.unreached(ctx, step, err)
	case !errors.As(err, &refusal):
		return p.fail(step, AnswerMalformed, "the answer is no JSON with an access_token")
	case refusal.ErrorCode != "":
		return p.said(step, meaning(step, refusal.ErrorCode), refusal.ErrorCode, refusal.ErrorDescription)
	}
	return p.status(step, refusal.Response.StatusCode, refusal.Response.Header.Get("Content-Type"))
}

// tokens checks and translates what the token endpoint gave.
func (p *Provider) tokens(step Step, token *oauth2.Token) (Tokens, error) {
	t := Tokens{Access: token.AccessToken, Refresh: token.RefreshToken, Type: token.Type(), Scopes: p.config.Scopes}
	if t.Type != "Bearer" {
		return t, p.fail(step, AnswerMalformed, "want a Bearer token, got type %q", t.Type)
	}
	if len(t.Access) > maxTokenBytes || len(t.Refresh) > maxTokenBytes {
		return t, p.fail(step, AnswerTooLarge, "a token has more than %d bytes", maxTokenBytes)
	}
	if granted, _ := token.Extra("scope").(string); granted != "" {
		scopes := strings.FieldsFunc(granted, func(r rune) bool { return r == ' ' || r == ',' }) // GitHub: commas
		t.Scopes = scopes[:min(len(scopes), maxGranted)]
	}
	if seconds := lifetime(token); seconds > 0 {
		t.ExpiresAt = p.now().Add(time.Duration(seconds) * time.Second)
	}
	return t, nil
}

// lifetime is expires_in, in seconds; package oauth2 parses it from JSON only.
func lifetime(token *oauth2.Token) int64 {
	seconds := token.ExpiresIn
	if fromForm, ok := token.Extra("expires_in").(int64); ok {
		seconds = fromForm
	}
	return min(seconds, math.MaxInt32)
}
