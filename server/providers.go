package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"gatehouse/login"
	"gatehouse/login/oauth"
)

// providerSettings is one identity provider as an operator describes it.
type providerSettings struct {
	oauth.Config
	redirectTo []string // of this provider alone
}

// shortNames are the providers that the environment can describe, and shortFields what it can say of
// each: GATEHOUSE_OAUTH_GOOGLE_CLIENT_ID.
var (
	shortNames  = []string{"google", "github", "apple", "microsoft", "oidc"}
	shortFields = map[string]string{
		"CLIENT_ID": "clientId", "CLIENT_SECRET": "clientSecret", "ISSUER": "issuer", "TITLE": "title", "TENANT": "tenant",
		"TEAM_ID": "teamId", "KEY_ID": "keyId", "PRIVATE_KEY": "privateKey",
	}
)

// takeProviders takes the providers out of the environment, in the order of shortNames.
func (o outside) takeProviders() []map[string]string {
	var found []map[string]string
	for _, name := range shortNames {
		provider := map[string]string{}
		for suffix, member := range shortFields {
			setting := "OAUTH_" + strings.ToUpper(name) + "_" + suffix
			if value, set := o[setting]; set {
				provider[member] = value
				delete(o, setting)
			}
		}
		if len(provider) > 0 {
			provider["name"], provider["kind"] = name, name
			found = append(found, provider)
		}
	}
	return found
}

// checkProviders reads and checks the providers of the file and of the environment.
func (s *Settings) checkProviders(refuse func(string, ...any)) {
	for _, address := range s.OAuthRedirectTo {
		if err := login.CheckRedirectTo(address); err != nil {
			refuse("oauth-redirect-to: %q: %w", address, err)
		}
	}
	var list []map[string]any
	if s.OAuthFile != "" {
		var err error
		if list, err = readProviders(s.OAuthFile); err != nil {
			refuse("oauth-file: %w", err)
			return
		}
	}
	for _, short := range s.shortProviders {
		provider := map[string]any{}
		for member, value := range short {
			provider[member] = value
		}
		list = append(list, provider)
	}
	var err error
	if s.providers, err = parseProviders(list); err != nil {
		refuse("oauth-file: %w", err)
		return
	}
	for _, p := range s.providers {
		if _, err := s.source(p, oauth.Options{}); err != nil {
			refuse("%w", err)
		}
	}
}

// maxProvidersFile is the longest oauth-file, in bytes.
const maxProvidersFile = 1 << 20

// readProviders reads oauth-file, with ${NAME} in its texts replaced by the environment's variable.
func readProviders(path string) ([]map[string]any, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxProvidersFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxProvidersFile {
		return nil, errors.New("the file has more than 1 MiB")
	}
	var list []map[string]any
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("want a JSON list of providers: %w", err)
	}
	var missing []error
	for _, provider := range list {
		for member, value := range provider {
			provider[member] = expand(value, &missing)
		}
	}
	return list, errors.Join(missing...)
}

var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// expand replaces ${NAME} in the texts of value; names that the environment does not have go to missing.
func expand(value any, missing *[]error) any {
	switch v := value.(type) {
	case string:
		return variable.ReplaceAllStringFunc(v, func(found string) string {
			name := found[2 : len(found)-1]
			text, set := os.LookupEnv(name)
			if !set {
				*missing = append(*missing, fmt.Errorf("the environment has no %s: set it, or write the value", name))
			}
			return text
		})
	case []any:
		for n := range v {
			v[n] = expand(v[n], missing)
		}
	case map[string]any:
		for member := range v {
			v[member] = expand(v[member], missing)
		}
	}
	return value
}

// ours are the members of a provider that the provider's room does not know.
type ourMembers struct {
	RedirectTo       []string `json:"redirectTo"`
	ClientSecretFile string   `json:"clientSecretFile"`
	PrivateKeyFile   string   `json:"privateKeyFile"`
}

// parseProviders turns the list into what the provider's room takes, with our own members taken out.
func parseProviders(list []map[string]any) ([]providerSettings, error) {
	own := make([]ourMembers, len(list))
	for n, provider := range list {
		if err := takeOurs(provider, &own[n]); err != nil {
			return nil, fmt.Errorf("provider %q: %w", provider["name"], err)
		}
	}
	encoded, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	configs, err := oauth.Parse(encoded)
	if err != nil {
		return nil, err
	}
	providers := make([]providerSettings, len(configs))
	for n, config := range configs {
		providers[n] = providerSettings{Config: config, redirectTo: own[n].RedirectTo}
	}
	return providers, nil
}

// takeOurs moves our members out of provider, and puts the contents of files in their place.
func takeOurs(provider map[string]any, into *ourMembers) error {
	mine := map[string]any{}
	for _, member := range []string{"redirectTo", "clientSecretFile", "privateKeyFile"} {
		if value, set := provider[member]; set {
			mine[member] = value
			delete(provider, member)
		}
	}
	encoded, err := json.Marshal(mine)
	if err == nil {
		err = json.Unmarshal(encoded, into)
	}
	if err != nil {
		return err
	}
	for member, path := range map[string]string{"clientSecret": into.ClientSecretFile, "privateKey": into.PrivateKeyFile} {
		if path == "" {
			continue
		}
		if _, both := provider[member]; both {
			return fmt.Errorf("both %s and %sFile are set; set one", member, member)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%sFile: %w", member, err)
		}
		provider[member] = strings.TrimRight(string(content), "\r\n")
	}
	return nil
}

// callback is where the provider name sends answers to us.
func (s *Settings) callback(name string) string { return s.PublicURL + "/oauth/callback/" + name }

// source builds a provider with the ways back from it. Our own address is always one that we may ask for;
// whether it may be used the provider knows.
func (s *Settings) source(p providerSettings, o oauth.Options) (login.Source, error) {
	callback := s.callback(p.Name)
	source := login.Source{Callback: callback, RedirectTo: slices.Concat(p.redirectTo, s.OAuthRedirectTo)}
	source.Pages = slices.DeleteFunc(slices.Clone(p.RedirectURLs), func(page string) bool { return page == callback })
	if len(source.Pages)+len(source.RedirectTo) == 0 {
		source.RedirectTo = []string{s.PublicURL + "/"}
	}
	for _, address := range p.redirectTo {
		if err := login.CheckRedirectTo(address); err != nil {
			return source, fmt.Errorf("oauth provider %q: redirectTo: %q: %w", p.Name, address, err)
		}
	}
	config := p.Config
	config.RedirectURLs = append([]string{callback}, source.Pages...)
	var err error
	source.Provider, err = oauth.New(config, o)
	return source, err
}

// openProviders builds sign-in through identity providers. It connects to none of them.
func (a *app) openProviders() error {
	parts := login.IdentityParts{Logins: a.logins, Ring: a.secrets.ring}
	for _, p := range a.settings.providers {
		source, err := a.settings.source(p, oauth.Options{Log: a.logger})
		if err != nil {
			return err
		}
		parts.Sources = append(parts.Sources, source)
	}
	var err error
	a.identities, err = login.NewIdentities(parts, login.IdentityOptions{Log: a.logger})
	return err
}

// maskedProviders returns the providers as lines that may be shown.
func (s *Settings) maskedProviders() []string {
	lines := make([]string, 0, len(s.providers))
	for _, p := range s.providers {
		source, err := s.source(p, oauth.Options{})
		if err != nil {
			continue // it was refused before
		}
		secret := "(set, hidden)"
		if p.ClientSecret == "" && p.PrivateKey == "" {
			secret = "(not set)"
		}
		lines = append(lines, fmt.Sprintf("oauth %-13s kind %s, issuer %s, client %s, secret %s, callback %s, pages %s, redirect to %s",
			p.Name, source.Provider.Kind(), source.Provider.Issuer(), p.ClientID, secret, source.Callback,
			strings.Join(source.Pages, ","), strings.Join(source.RedirectTo, ",")))
	}
	return lines
}
