package account

import (
	"errors"
	"net/url"
	"strings"
)

// ownPages is where our own pages stand under the public URL.
const ownPages = "/links/{purpose}?token={token}"

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

// link returns where a mail leads: never where a request came in, whose Host anybody can choose. A copy of
// one's data is fetched at our own page, whatever frontend there is.
func (a *Accounts) link(purpose Purpose, token string) string {
	if purpose == ToFetchExport {
		return linkTo(a.o.PublicURL+ownPages, purpose, token)
	}
	return linkTo(a.o.LinkURL, purpose, token)
}

// linkTo fills the placeholders; purposes and tokens are safe in a URL as they are.
func linkTo(template string, purpose Purpose, token string) string {
	return strings.NewReplacer("{purpose}", string(purpose), "{token}", token).Replace(template)
}
