package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// gitHubAPI is where the API of a GitHub server stands; an Enterprise Server has it under its own
// address.
func gitHubAPI(server string) string {
	if server == gitHubIssuer {
		return "https://api.github.com"
	}
	return server + "/api/v3"
}

// gitHubUser asks GitHub whose token it is. The login may change hands, so the numeric ID is the
// subject. The address is the primary one of /user/emails, since that of /user is chosen for show.
func (p *Provider) gitHubUser(ctx context.Context, accessToken string) (Identity, Profile, error) {
	var user claims
	if err := p.get(ctx, UserInfo, p.config.UserInfoURL, accessToken, &user); err != nil {
		return Identity{}, Profile{}, err
	}
	number, _ := user["id"].(json.Number)
	id, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || id <= 0 {
		return Identity{}, Profile{}, p.fail(UserInfo, SubjectInvalid, "id is %q, want a number above 0", number)
	}
	profile := Profile{
		Name:     line(text(user, "name"), maxName),
		Username: line(text(user, "login"), maxName),
		Picture:  picture(text(user, "avatar_url")),
		Raw:      raw(user),
	}
	profile.Email, profile.EmailVerified, err = p.gitHubEmail(ctx, accessToken)
	return Identity{Issuer: p.config.Issuer, Subject: strconv.FormatInt(id, 10)}, profile, err
}

// gitHubEmail returns the primary address and whether it is verified; "" when the scope user:email was
// not granted.
func (p *Provider) gitHubEmail(ctx context.Context, accessToken string) (string, bool, error) {
	var emails []struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	err := p.get(ctx, UserInfo, p.config.UserInfoURL+"/emails?per_page=100", accessToken, &emails)
	if code := CodeOf(err); code == AccessRefused || code == Unsupported { // GitHub hides behind 404
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	for _, e := range emails {
		if email := address(e.Email); e.Primary && email != "" {
			return email, e.Verified, nil
		}
	}
	return "", false, nil
}

// gitHubRevocation is "Delete an app token" of GitHub's REST API.
func (p *Provider) gitHubRevocation(ctx context.Context, accessToken string) (*http.Request, error) {
	body, err := json.Marshal(map[string]string{"access_token": accessToken})
	if err != nil {
		return nil, p.fail(Revoke, Unsupported, "the token is no text")
	}
	endpoint := gitHubAPI(p.config.Issuer) + "/applications/" + url.PathEscape(p.config.ClientID) + "/token"
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, p.fail(Revoke, ConfigWrong, "the revocation endpoint is no URL")
	}
	request.SetBasicAuth(p.config.ClientID, p.config.ClientSecret)
	request.Header.Set("Content-Type", "application/json")
	return request, nil
}
