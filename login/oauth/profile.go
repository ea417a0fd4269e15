package oauth

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxEmail   = 254 // bytes, RFC 5321 §4.5.3.1.3
	maxName    = 200 // bytes, of each name
	maxLocale  = 35  // bytes, RFC 5646 §4.4.1
	maxPicture = 2048
	maxRaw     = 16 << 10
)

// Profile is what the provider tells of a person. Every text is bounded and without control
// characters; what breaks a bound is left out.
type Profile struct {
	Email         string `json:"email"` // at most 254 bytes; "": the provider told none
	EmailVerified bool   `json:"emailVerified"`
	// EmailRelay says that Email is a forwarding address of the provider (Apple's Hide My Email).
	EmailRelay bool   `json:"emailRelay"`
	Name       string `json:"name"` // as GivenName and FamilyName, at most 200 bytes
	GivenName  string `json:"givenName"`
	FamilyName string `json:"familyName"`
	Username   string `json:"username"` // preferred_username, GitHub's login; may change hands
	Picture    string `json:"picture"`  // an https URL of at most 2,048 bytes
	Locale     string `json:"locale"`
	// HostedDomain is Google's hd, the organisation of a managed account, which was verified; of another
	// provider "".
	HostedDomain string `json:"hostedDomain"`
	// Raw is the JSON object that all this comes from, at most 16 KiB; nil when it was larger.
	Raw json.RawMessage `json:"raw"`
}

// Profile fetches the profile of identity anew with an access token from its sign-in. Errors:
// ACCESS_REFUSED when the token is not good any more, PROFILE_MISMATCH when it is another person's,
// UNSUPPORTED where only sign-in tells it (Apple).
func (p *Provider) Profile(ctx context.Context, identity Identity, tokens Tokens) (Profile, error) {
	profile, err := p.fetchProfile(ctx, identity, tokens.Access)
	if err != nil {
		return Profile{}, p.report(ctx, "", err, tokens.Access, tokens.Refresh)
	}
	p.passed(ctx, "", "profile read")
	return profile, nil
}

func (p *Provider) fetchProfile(ctx context.Context, identity Identity, accessToken string) (Profile, error) {
	m, err := p.metadata.get(ctx)
	if err != nil {
		return Profile{}, err
	}
	if p.config.Kind == GitHub {
		found, profile, err := p.gitHubUser(ctx, accessToken)
		if err == nil && found != identity {
			err = p.fail(UserInfo, ProfileMismatch, "the profile is of another user")
		}
		return profile, err
	}
	if m.UserInfoURL == "" {
		return Profile{}, p.fail(UserInfo, Unsupported, "the provider has no userinfo endpoint")
	}
	known, err := p.userInfo(ctx, m, identity.Subject, accessToken)
	return p.profile(known), err
}

// userInfo asks OpenID Connect Core §5.3 about subject; the answer must be about nobody else (§5.3.2).
func (p *Provider) userInfo(ctx context.Context, m metadata, subject, accessToken string) (claims, error) {
	var answer claims
	if err := p.get(ctx, UserInfo, m.UserInfoURL, accessToken, &answer); err != nil {
		return nil, err
	}
	if subject == "" || text(answer, "sub") != subject {
		return nil, p.fail(UserInfo, ProfileMismatch, "sub is %q, want %q", text(answer, "sub"), subject)
	}
	return answer, nil
}

// aboutEmail are the claims that belong together: taken from one document, or from the other.
var aboutEmail = []string{"email", "email_verified", "xms_edov", "is_private_email"}

// lacks reports whether the ID token leaves out what the scopes asked for.
func (p *Provider) lacks(idToken claims) bool {
	asked := func(scope string) bool { return slices.Contains(p.config.Scopes, scope) }
	return asked("email") && !p.settlesEmail(idToken) || asked("profile") && text(idToken, "name") == ""
}

// settlesEmail reports whether c tells an address and whether it is verified. Microsoft tells the
// latter nowhere else.
func (p *Provider) settlesEmail(c claims) bool {
	_, judged := c["email_verified"]
	return text(c, "email") != "" && (judged || p.config.Kind == Microsoft)
}

// merge returns the ID token's claims, and UserInfo's where the ID token is silent. The address never
// comes from one and its verification from the other.
func (p *Provider) merge(idToken, userInfo claims) claims {
	merged := maps.Clone(userInfo)
	maps.Copy(merged, idToken)
	if !p.settlesEmail(idToken) && text(userInfo, "email") != "" {
		for _, name := range aboutEmail {
			delete(merged, name)
			if value, present := userInfo[name]; present {
				merged[name] = value
			}
		}
	}
	return merged
}

// ofProtocol are claims about the token, not the person.
var ofProtocol = []string{"nonce", "at_hash", "c_hash", "s_hash", "sid", "aud", "azp", "exp", "iat", "nbf", "jti", "rh", "uti", "aio"}

// profile reads the standard claims (OpenID Connect Core §5.1).
func (p *Provider) profile(c claims) Profile {
	profile := Profile{
		Email:      address(text(c, "email")),
		EmailRelay: flag(c["is_private_email"]),
		Name:       line(text(c, "name"), maxName),
		GivenName:  line(text(c, "given_name"), maxName),
		FamilyName: line(text(c, "family_name"), maxName),
		Username:   line(text(c, "preferred_username"), maxName),
		Picture:    picture(text(c, "picture")),
		Locale:     line(text(c, "locale"), maxLocale),
		Raw:        raw(c),
	}
	verified := flag(c["email_verified"])
	if p.config.Kind == Microsoft {
		verified = edov(c["xms_edov"])
	}
	profile.EmailVerified = verified && profile.Email != ""
	if p.config.Kind == Google {
		profile.HostedDomain = line(text(c, "hd"), maxEmail)
	}
	return profile
}

// flag reads a boolean, which Apple and some others write as a string.
func flag(value any) bool { return value == true || value == "true" }

// edov reads Microsoft's "e-mail domain owner verified", which comes in two more spellings. Without it a
// tenant's administrator may have typed any address, and whoever trusts it hands over accounts.
func edov(value any) bool { return flag(value) || value == json.Number("1") || value == "1" }

// line returns s if it is one line of at most limit bytes, else "".
func line(s string, limit int) string {
	s = strings.TrimSpace(s)
	if len(s) > limit || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}

// address returns s if it could be an e-mail address, else "". Whether it is one only mail can tell.
func address(s string) string {
	s = line(s, maxEmail)
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || strings.ContainsFunc(s, unicode.IsSpace) {
		return ""
	}
	return s
}

func picture(s string) string {
	s = line(s, maxPicture)
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return s
}

func raw(c claims) json.RawMessage {
	person := maps.Clone(c)
	for _, name := range ofProtocol {
		delete(person, name)
	}
	encoded, err := json.Marshal(person)
	if err != nil || len(encoded) > maxRaw {
		return nil
	}
	return encoded
}
