package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// leeway is how far the provider's clock and ours may differ.
	leeway     = time.Minute
	maxSubject = 255 // bytes, OpenID Connect Core §2
	maxIssuer  = maxSetting
)

// asymmetric are the algorithms that an ID token may have. HS256 is not among them: whoever knows the
// client secret could sign.
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// claims are the members of a JSON object by their exact names; numbers are [json.Number].
type claims = map[string]any

// verifiedToken is an ID token that passed.
type verifiedToken struct {
	identity  Identity
	claims    claims
	algorithm string
}

// verify checks an ID token by OpenID Connect Core §3.1.3.7. When its key is unknown or does not fit,
// the provider may have new ones: they are fetched and the signature is looked at once more.
func (p *Provider) verify(ctx context.Context, idToken, nonce, accessToken string) (verifiedToken, error) {
	m, err := p.metadata.get(ctx)
	if err != nil {
		return verifiedToken{}, err
	}
	keys, err := p.keys.get(ctx)
	if err != nil {
		return verifiedToken{}, err
	}
	token, err := p.checkSignature(m, idToken, keys)
	if code := CodeOf(err); code == KeyUnknown || code == SignatureInvalid {
		if newer, ok := p.keys.renew(ctx); ok {
			token, err = p.checkSignature(m, idToken, newer)
		}
	}
	if err != nil {
		return verifiedToken{}, err
	}
	said := token.Claims.(jwt.MapClaims)
	for _, check := range []func() error{
		func() error { return p.checkOrigin(m, said) },
		func() error { return p.checkTimes(said) },
		func() error { return p.checkBinding(said, token.Method.Alg(), nonce, accessToken) },
	} {
		if err := check(); err != nil {
			return verifiedToken{}, err
		}
	}
	identity, err := p.identity(m, said)
	return verifiedToken{identity: identity, claims: claims(said), algorithm: token.Method.Alg()}, err
}

// checkSignature parses idToken and verifies it by those of keys that its header allows. The claims are
// not looked at yet.
func (p *Provider) checkSignature(m metadata, idToken string, keys []verificationKey) (*jwt.Token, error) {
	parser := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithJSONNumber(), jwt.WithStrictDecoding())
	token, err := parser.ParseWithClaims(idToken, jwt.MapClaims{}, func(token *jwt.Token) (any, error) {
		return p.selectKeys(m, token, keys)
	})
	var ours *Error
	switch {
	case err == nil:
		return token, nil
	case errors.As(err, &ours):
		return nil, ours
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return nil, p.fail(IDToken, AlgorithmRefused, "the algorithm is unknown")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return nil, p.fail(IDToken, SignatureInvalid, "key %q did not sign the token", text(token.Header, "kid"))
	}
	return nil, p.fail(IDToken, AnswerMalformed, "id_token is no signed JWT")
}

// selectKeys decides by the header which keys may have signed (RFC 8725 §3.1): the algorithm is one that
// the provider announces, or RS256, and it is one of the key's own.
func (p *Provider) selectKeys(m metadata, token *jwt.Token, keys []verificationKey) (any, error) {
	algorithm := token.Method.Alg()
	announced := m.Algorithms
	if len(announced) == 0 {
		announced = []string{"RS256"} // OpenID Connect Core §3.1.3.7, number 7
	}
	if !slices.Contains(asymmetric, algorithm) || !slices.Contains(announced, algorithm) {
		return nil, p.fail(IDToken, AlgorithmRefused, "the algorithm is %q, the provider announces %q", algorithm, announced)
	}
	if _, critical := token.Header["crit"]; critical {
		return nil, p.fail(IDToken, AnswerMalformed, "the header asks for an extension (crit) that we do not know")
	}
	kid := text(token.Header, "kid")
	said := claims(token.Claims.(jwt.MapClaims))
	var fitting jwt.VerificationKeySet
	for _, key := range keys {
		if p.config.Kind == Microsoft && !key.serves(text(said, "iss"), text(said, "tid")) {
			continue
		}
		if (kid == "" || kid == key.id) && key.signs(algorithm) {
			fitting.Keys = append(fitting.Keys, key.public)
		}
	}
	if len(fitting.Keys) == 0 {
		return nil, p.fail(IDToken, KeyUnknown, "none of the provider's %d keys has the ID %q and signs %s", len(keys), kid, algorithm)
	}
	return fitting, nil
}

// checkOrigin looks at iss, aud and azp.
func (p *Provider) checkOrigin(m metadata, said jwt.MapClaims) error {
	if iss := text(said, "iss"); len(iss) > maxIssuer || !p.issued(m, iss, text(said, "tid")) {
		return p.fail(IDToken, IssuerMismatch, "iss is %q, want %q", iss, m.Issuer)
	}
	audience, err := said.GetAudience()
	if err != nil || !slices.Contains(audience, p.config.ClientID) {
		return p.fail(IDToken, AudienceMismatch, "aud is %q, want %q", audience, p.config.ClientID)
	}
	azp, present := said["azp"]
	if (present || len(audience) > 1) && azp != p.config.ClientID {
		return p.fail(IDToken, AudienceMismatch, "azp is %q, want %q", azp, p.config.ClientID)
	}
	return nil
}

// checkTimes looks at exp, nbf and iat, with leeway. A token that is old but not expired passes: the
// nonce binds it to this flow.
func (p *Provider) checkTimes(said jwt.MapClaims) error {
	now := p.now()
	expiry, err1 := said.GetExpirationTime()
	issued, err2 := said.GetIssuedAt()
	notBefore, err3 := said.GetNotBefore()
	switch {
	case errors.Join(err1, err2, err3) != nil || expiry == nil || issued == nil:
		return p.fail(IDToken, AnswerMalformed, "exp or iat is missing, or a time is no number")
	case !now.Before(expiry.Add(leeway)):
		return p.fail(IDToken, TokenExpired, "exp is %s, now is %s", instant(expiry.Time), instant(now))
	case issued.After(now.Add(leeway)):
		return p.fail(IDToken, TokenNotYet, "iat is %s, now is %s", instant(issued.Time), instant(now))
	case notBefore != nil && notBefore.After(now.Add(leeway)):
		return p.fail(IDToken, TokenNotYet, "nbf is %s, now is %s", instant(notBefore.Time), instant(now))
	}
	return nil
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// checkBinding looks at what ties the token to the flow and to the access token: nonce, and at_hash
// where it is present (OpenID Connect Core §3.1.3.8).
func (p *Provider) checkBinding(said jwt.MapClaims, algorithm, nonce, accessToken string) error {
	if nonce == "" || subtle.ConstantTimeCompare([]byte(text(said, "nonce")), []byte(nonce)) != 1 {
		return p.fail(IDToken, NonceMismatch, "the nonce is not that of the flow")
	}
	if hash, present := said["at_hash"]; present && hash != leftHalf(algorithm, accessToken) {
		return p.fail(IDToken, AccessTokenHashMismatch, "at_hash is not that of the access token")
	}
	return nil
}

// leftHalf is the left half of the hash that goes with algorithm, in base64url. Ed25519 goes with
// SHA-512.
func leftHalf(algorithm, accessToken string) string {
	sum512 := sha512.Sum512([]byte(accessToken))
	sum := sum512[:]
	switch {
	case strings.HasSuffix(algorithm, "256"):
		sum256 := sha256.Sum256([]byte(accessToken))
		sum = sum256[:]
	case strings.HasSuffix(algorithm, "384"):
		sum384 := sha512.Sum384([]byte(accessToken))
		sum = sum384[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// identity is (iss, sub). Google's two spellings of its issuer are one; Microsoft's issuer is the
// tenant's.
func (p *Provider) identity(m metadata, said jwt.MapClaims) (Identity, error) {
	subject := text(said, "sub")
	if subject == "" || len(subject) > maxSubject || strings.ContainsFunc(subject, unicode.IsControl) {
		return Identity{}, p.fail(IDToken, SubjectInvalid, "sub has %d bytes, want 1 to %d without control characters", len(subject), maxSubject)
	}
	issuer := m.Issuer
	if p.config.Kind == Microsoft {
		issuer = text(said, "iss")
	}
	return Identity{Issuer: issuer, Subject: subject}, nil
}

// text is the string member name of c; "" when it is absent or something else.
func text(c claims, name string) string {
	s, _ := c[name].(string)
	return s
}
