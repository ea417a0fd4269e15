package account

import (
	"errors"
	"net/url"
	"strings"
)

// defaultLinkURL stands for Options.LinkURL where a deployment has no address, as in tests.
const defaultLinkURL = "http://localhost:8080/links/{purpose}?token={token}"

// CheckLinkURL says what is wrong with an address for links: it is absolute, by http or https, with
// {token} once and {purpose} at most once, neither in the host.
func CheckLinkURL(text string) error {
	if strings.Count(text, "{token}") != 1 || strings.Count(text, "{purpose}") > 1 {
		return errors.New("write {token} once and {purpose} at most once")
	}
	u, err := url.Parse(linkTo(text, ToResetPassword, "token"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("write an absolute web address, such as https://app.example.com/links/{purpose}#{token}")
	}
	if before, _, _ := strings.Cut(text, "{"); strings.Count(before, "/") < 3 {
		return errors.New("{purpose} and {token} stand after the host")
	}
	return nil
}

// linkTo fills the placeholders; purposes and tokens are safe in a URL as they are.
func linkTo(template string, purpose Purpose, token string) string {
	return strings.NewReplacer("{purpose}", string(purpose), "{token}", token).Replace(template)
}
