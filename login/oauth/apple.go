package oauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// appleSecretLifetime is short, since a secret is made for each request; Apple allows six months.
	appleSecretLifetime = 5 * time.Minute
	maxAppleUser        = 4096 // bytes
)

// parseAppleKey reads the .p8 file: a PKCS #8 key on P-256 in PEM.
func parseAppleKey(text string) (*ecdsa.PrivateKey, error) {
	wrong := errors.New("write the text of the .p8 file that Apple gave you, line breaks included")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, wrong
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, wrong
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, wrong
	}
	return private, nil
}

// appleSecret makes the client secret: a JWT that the team's key signs, for Apple alone.
func (p *Provider) appleSecret() (string, error) {
	now := p.now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": p.config.TeamID, "sub": p.config.ClientID, "aud": p.config.Issuer,
		"iat": now.Unix(), "exp": now.Add(appleSecretLifetime).Unix(),
	})
	token.Header["kid"] = p.config.KeyID
	secret, err := token.SignedString(p.appleKey)
	if err != nil {
		return "", p.fail(Exchange, ConfigWrong, "privateKey does not sign")
	}
	return secret, nil
}

// addAppleName reads the name from user, which the browser carried and nobody signed: good for a name
// and nothing else. Apple sends it once, so a text that it cannot read is no error.
func (profile *Profile) addAppleName(user string) {
	var told struct {
		Name struct {
			First string `json:"firstName"`
			Last  string `json:"lastName"`
		} `json:"name"`
	}
	if len(user) > maxAppleUser || json.Unmarshal([]byte(user), &told) != nil {
		return
	}
	profile.GivenName = or(profile.GivenName, line(told.Name.First, maxName))
	profile.FamilyName = or(profile.FamilyName, line(told.Name.Last, maxName))
	profile.Name = or(profile.Name, line(strings.TrimSpace(profile.GivenName+" "+profile.FamilyName), maxName))
}
