package otc

import (
	"strings"

	"gatehouse/session/token"
)

// LinkHash is what is stored of a link's secret, and by which it is found: its SHA-256. It needs no
// key: 2^256 secrets are not guessed.
type LinkHash = token.OpaqueHash

// NewLink draws the secret of a link: "gh_", the purpose, "_" and 43 characters of base64url. It is
// safe in a URL as it stands.
func NewLink(purpose Purpose) (secret string, hash LinkHash) {
	return token.NewOpaque(linkPrefix(purpose))
}

// HashLink returns the hash of a link's secret, as it came out of the mail: line breaks and spaces that
// a mail program put into it do not count. It is false for a secret of another purpose or form; one
// that is true is still to be found in the store.
func HashLink(purpose Purpose, secret string) (hash LinkHash, ok bool) {
	if len(secret) > maxTypedBytes {
		return LinkHash{}, false
	}
	secret = strings.Join(strings.Fields(secret), "")
	if random, named := strings.CutPrefix(secret, linkPrefix(purpose)); !named || len(random) != linkCharacters {
		return LinkHash{}, false
	}
	return token.HashOpaque(secret), true
}

// linkCharacters is the length of 256 bits in base64url.
const linkCharacters = 43

func linkPrefix(purpose Purpose) string { return "gh_" + string(purpose) + "_" }
