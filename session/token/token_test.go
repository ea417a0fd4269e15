package token_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatehouse/session/token"
)

// noon is the moment at which the tests issue; it is a whole second, as claims are.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	issuer   = "https://gatehouse.example"
	audience = "https://gatehouse.example"
)

func newKey(t testing.TB, algorithm token.Algorithm) token.SigningKey {
	t.Helper()
	key, err := token.GenerateKey(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keySet(t testing.TB, current token.SigningKey, next *token.SigningKey, retired ...token.PublicKey) token.KeySet {
	t.Helper()
	keys, err := token.NewKeySet(current, next, retired...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func accessClaims() token.Claims {
	return token.Claims{
		Issuer: issuer, Audience: audience, Subject: "usr_1", Session: "ses_1", Version: 7, ID: "01",
		Class: "aal2", Methods: []string{"pwd", "otp"}, AuthTime: noon.Add(-time.Hour),
		Roles: []string{"admin"}, Scope: []string{"jobs:read", "jobs:write"}, Actor: "usr_2",
		IssuedAt: noon, NotBefore: noon, ExpiresAt: noon.Add(10 * time.Minute),
	}
}

func issue(t testing.TB, key token.SigningKey, claims token.Claims) string {
	t.Helper()
	signed, err := token.Issue(key, claims)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// at are the options of a verifier whose clock stands at now.
func at(now time.Time) token.Options {
	return token.Options{Issuer: issuer, Audience: audience, Now: func() time.Time { return now }}
}

func TestAnIssuedTokenVerifiesToTheSameClaims(t *testing.T) {
	for _, algorithm := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		t.Run(string(algorithm), func(t *testing.T) {
			key := newKey(t, algorithm)
			keys := keySet(t, key, nil)
			rapid.Check(t, func(t *rapid.T) {
				text := rapid.StringN(0, 40, 80)
				words := rapid.SliceOfN(rapid.StringMatching(`[a-z:]{1,12}`), 0, 5)
				want := token.Claims{
					Purpose: rapid.SampledFrom([]token.Purpose{token.Access, token.Challenge, token.Mail}).Draw(t, "purpose"),
					Issuer:  issuer, Audience: audience,
					Subject: text.Draw(t, "sub"), ClientID: text.Draw(t, "client"), Session: text.Draw(t, "sid"),
					Version: rapid.Int64().Draw(t, "ver"), ID: text.Draw(t, "jti"), Class: text.Draw(t, "acr"),
					Methods: words.Draw(t, "amr"), Roles: words.Draw(t, "roles"), Scope: words.Draw(t, "scope"),
					Actor: text.Draw(t, "act"), IssuedAt: noon,
					ExpiresAt: noon.Add(time.Duration(rapid.IntRange(1, 86400).Draw(t, "life")) * time.Second),
				}
				signed, err := token.Issue(key, want)
				if err != nil {
					t.Fatal(err)
				}
				options := at(noon)
				options.Purpose = want.Purpose
				got, err := token.Verify(keys, signed, options)
				if err != nil {
					t.Fatalf("verify %s: %v", signed, err)
				}
				if diff := cmp.Diff(want, got, cmp.Transformer("empty", emptyIsNil)); diff != "" {
					t.Fatal(diff)
				}
			})
		})
	}
}

func emptyIsNil(list []string) string { return strings.Join(list, "\x00") }

func TestVerifyHoldsATokenAgainstItsOptions(t *testing.T) {
	key := newKey(t, token.EdDSA)
	keys := keySet(t, key, nil)
	signed := issue(t, key, accessClaims())
	with := func(change func(*token.Options)) token.Options {
		o := at(noon)
		change(&o)
		return o
	}
	for name, row := range map[string]struct {
		options token.Options
		want    error
	}{
		"as issued":                        {at(noon), nil},
		"clock 30 s behind":                {at(noon.Add(-30 * time.Second)), nil},
		"clock 31 s behind":                {at(noon.Add(-31 * time.Second)), token.ErrNotYet},
		"just inside the leeway":           {at(noon.Add(10*time.Minute + 29*time.Second)), nil},
		"expired":                          {at(noon.Add(10*time.Minute + 30*time.Second)), token.ErrExpired},
		"another issuer":                   {with(func(o *token.Options) { o.Issuer = "https://other.example" }), token.ErrWrongIssuer},
		"another audience":                 {with(func(o *token.Options) { o.Audience = "https://other.example" }), token.ErrWrongAudience},
		"another purpose":                  {with(func(o *token.Options) { o.Purpose = token.Challenge }), token.ErrMalformed},
		"no leeway, at the expiry":         {with(func(o *token.Options) { o.Leeway = -1; o.Now = at(noon.Add(10 * time.Minute)).Now }), token.ErrExpired},
		"no leeway, a second before it":    {with(func(o *token.Options) { o.Leeway = -1; o.Now = at(noon.Add(599 * time.Second)).Now }), nil},
		"audience with a purpose's ending": {with(func(o *token.Options) { o.Audience = audience + "#challenge" }), token.ErrWrongAudience},
	} {
		if _, err := token.Verify(keys, signed, row.options); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
	}
	for _, lacking := range []token.Options{{Issuer: issuer}, {Audience: audience}} {
		if _, err := token.Verify(keys, signed, lacking); err == nil {
			t.Errorf("options %+v are accepted", lacking)
		}
	}
}

// forge signs any header and claims with our own key, which no attacker can; what it makes must still
// be refused.
func forge(t testing.TB, key token.SigningKey, header, claims map[string]any) string {
	t.Helper()
	fullHeader := map[string]any{"alg": string(key.Algorithm), "typ": "at+jwt", "kid": key.ID}
	fullClaims := map[string]any{
		"iss": issuer, "aud": audience, "sub": "usr_1", "iat": noon.Unix(), "exp": noon.Add(time.Minute).Unix(),
	}
	for full, change := range map[*map[string]any]map[string]any{&fullHeader: header, &fullClaims: claims} {
		for name, value := range change {
			(*full)[name] = value
			if value == nil {
				delete(*full, name)
			}
		}
	}
	input := encode(t, fullHeader) + "." + encode(t, fullClaims)
	der, _ := key.Marshal()
	signature, err := jwt.GetSigningMethod(string(key.Algorithm)).Sign(input, private(t, der))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(t testing.TB, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func TestARightSignatureDoesNotExcuseAWrongToken(t *testing.T) {
	key := newKey(t, token.EdDSA)
	keys := keySet(t, key, nil)
	if _, err := token.Verify(keys, forge(t, key, nil, nil), at(noon)); err != nil {
		t.Fatalf("the forge does not work: %v", err)
	}
	for name, row := range map[string]struct {
		header, claims map[string]any
		want           error
	}{
		"typ JWT":              {map[string]any{"typ": "JWT"}, nil, token.ErrMalformed},
		"no typ":               {map[string]any{"typ": nil}, nil, token.ErrMalformed},
		"typ of a challenge":   {map[string]any{"typ": "challenge+jwt"}, nil, token.ErrMalformed},
		"a critical extension": {map[string]any{"crit": []string{"b64"}}, nil, token.ErrMalformed},
		"no kid":               {map[string]any{"kid": nil}, nil, token.ErrUnknownKey},
		"kid is a number":      {map[string]any{"kid": 1}, nil, token.ErrUnknownKey},
		"kid of another":       {map[string]any{"kid": "../../dev/null"}, nil, token.ErrUnknownKey},
		"alg none":             {map[string]any{"alg": "none"}, nil, token.ErrSignature},
		"alg HS256":            {map[string]any{"alg": "HS256"}, nil, token.ErrSignature},
		"alg ES256":            {map[string]any{"alg": "ES256"}, nil, token.ErrSignature},
		"alg nonesuch":         {map[string]any{"alg": "nonesuch"}, nil, token.ErrSignature},
		"no exp":               {nil, map[string]any{"exp": nil}, token.ErrMalformed},
		"exp is zero":          {nil, map[string]any{"exp": 0}, token.ErrMalformed},
		"exp is a text":        {nil, map[string]any{"exp": "tomorrow"}, token.ErrMalformed},
		"exp is huge":          {nil, map[string]any{"exp": json.Number("1e30")}, token.ErrMalformed},
		"exp is negative":      {nil, map[string]any{"exp": -1}, token.ErrExpired},
		"no iss":               {nil, map[string]any{"iss": nil}, token.ErrMalformed},
		"no aud":               {nil, map[string]any{"aud": nil}, token.ErrMalformed},
		"aud is a list of one": {nil, map[string]any{"aud": []string{audience}}, nil},
		"aud is several":       {nil, map[string]any{"aud": []string{audience, "https://other.example"}}, token.ErrWrongAudience},
		"nbf in the future":    {nil, map[string]any{"nbf": noon.Add(time.Minute).Unix()}, token.ErrNotYet},
		"iat in the future":    {nil, map[string]any{"iat": noon.Add(time.Minute).Unix()}, token.ErrNotYet},
	} {
		if claims, err := token.Verify(keys, forge(t, key, row.header, row.claims), at(noon)); !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%s: got %v (%+v), want %v", name, err, claims, row.want)
		}
	}
}

func TestAPublicKeyIsNoSharedSecret(t *testing.T) {
	key := newKey(t, token.RS256)
	keys := keySet(t, key, nil)
	der, err := key.Public().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	confused := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": issuer, "aud": audience, "iat": noon.Unix(), "exp": noon.Add(time.Minute).Unix(),
	})
	confused.Header["typ"], confused.Header["kid"] = "at+jwt", key.ID
	signed, err := confused.SignedString(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Verify(keys, signed, at(noon)); !errors.Is(err, token.ErrSignature) {
		t.Fatalf("got %v, want ErrSignature", err)
	}
}

func TestATokenOfAnotherPurposeIsNoAccessToken(t *testing.T) {
	key := newKey(t, token.EdDSA)
	keys := keySet(t, key, nil)
	purposes := []token.Purpose{token.Access, token.Challenge, token.Mail, token.OAuthState, token.TrustedDevice, token.Artifact}
	for _, made := range purposes {
		claims := accessClaims()
		claims.Purpose = made
		signed := issue(t, key, claims)
		for _, used := range purposes {
			options := at(noon)
			options.Purpose = used
			if _, err := token.Verify(keys, signed, options); (err == nil) != (made == used) {
				t.Errorf("made for %q, used for %q: %v", made, used, err)
			}
		}
	}
}

func TestATokenChangedAnywhereIsRefused(t *testing.T) {
	key := newKey(t, token.EdDSA)
	keys := keySet(t, key, nil)
	signed := issue(t, key, accessClaims())
	for i := range len(signed) {
		for _, c := range []byte("A_.=\n ") {
			changed := signed[:i] + string(c) + signed[i+1:]
			if changed == signed {
				continue
			}
			if _, err := token.Verify(keys, changed, at(noon)); err == nil {
				t.Fatalf("byte %d is %q, yet the token is accepted", i, c)
			}
			if _, err := token.Verify(keys, signed[:i]+string(c)+signed[i:], at(noon)); err == nil {
				t.Fatalf("%q put in at %d, yet the token is accepted", c, i)
			}
		}
	}
	for name, text := range map[string]string{
		"empty": "", "long": signed + strings.Repeat("A", token.MaxBytes), "four parts": signed + ".AAAA", "one part": "AAAA",
	} {
		if _, err := token.Verify(keys, text, at(noon)); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestKeysRotateWithoutARefusedToken(t *testing.T) {
	first, second, third := newKey(t, token.EdDSA), newKey(t, token.ES256), newKey(t, token.EdDSA)
	ofFirst, ofSecond := issue(t, first, accessClaims()), issue(t, second, accessClaims())

	published := keySet(t, first, &second)
	rotated := keySet(t, second, &third, first.Public())
	dropped := keySet(t, third, nil, second.Public())
	for name, row := range map[string]struct {
		keys   token.KeySet
		signed string
		want   error
	}{
		"first, published":  {published, ofFirst, nil},
		"second, published": {published, ofSecond, nil},
		"first, rotated":    {rotated, ofFirst, nil},
		"second, rotated":   {rotated, ofSecond, nil},
		"first, dropped":    {dropped, ofFirst, token.ErrUnknownKey},
		"second, dropped":   {dropped, ofSecond, nil},
		"empty set":         {token.KeySet{}, ofFirst, token.ErrSignature},
	} {
		if _, err := token.Verify(row.keys, row.signed, at(noon)); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
	}
	if current := rotated.Current(); current.ID != second.ID {
		t.Errorf("the set signs with %s, want %s", current, second)
	}
	if got := rotated.Algorithms(); !cmp.Equal(got, []token.Algorithm{token.ES256, token.EdDSA}) {
		t.Errorf("algorithms %v", got)
	}
}

func TestAKeySetRefusesAKeyTwiceAndTooMany(t *testing.T) {
	key := newKey(t, token.EdDSA)
	if _, err := token.NewKeySet(key, &key); err == nil {
		t.Error("current is next")
	}
	if _, err := token.NewKeySet(token.SigningKey{}, nil); err == nil {
		t.Error("no current key")
	}
	if _, err := token.NewKeySet(key, nil, token.PublicKey{}); err == nil {
		t.Error("an empty retired key")
	}
	var retired []token.PublicKey
	for range token.MaxKeys {
		retired = append(retired, newKey(t, token.EdDSA).Public())
	}
	if _, err := token.NewKeySet(key, nil, retired...); err == nil {
		t.Error("too many keys")
	}
}

func TestAKeySurvivesItsStorage(t *testing.T) {
	for _, algorithm := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		key := newKey(t, algorithm)
		der, err := key.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		restored, err := token.ParseKey(der)
		if err != nil || restored.ID != key.ID || restored.Algorithm != algorithm {
			t.Fatalf("%s: restored %v, %v", algorithm, restored, err)
		}
		publicDER, err := key.Public().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		public, err := token.ParsePublicKey(publicDER)
		if err != nil {
			t.Fatal(err)
		}
		keys := keySet(t, newKey(t, token.EdDSA), nil, public)
		if _, err := token.Verify(keys, issue(t, restored, accessClaims()), at(noon)); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		for _, shown := range []string{fmt.Sprint(key), fmt.Sprintf("%+v %#v", key, key)} {
			if !strings.Contains(shown, key.ID) || len(shown) > 300 {
				t.Errorf("the key shows: %s", shown)
			}
		}
	}
	if _, err := token.ParseKey([]byte("no key")); !errors.Is(err, token.ErrKey) {
		t.Errorf("got %v, want ErrKey", err)
	}
	if _, err := token.GenerateKey("HS256"); err == nil {
		t.Error("a key for HS256 was made")
	}
}

func TestTheJWKSShowsPublicKeysOnlyAndTheyVerify(t *testing.T) {
	current, next := newKey(t, token.EdDSA), newKey(t, token.ES256)
	retired := newKey(t, token.RS256)
	document := keySet(t, current, &next, retired.Public()).JWKS()
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{
		{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": current.ID, "use": "sig"},
		{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": next.ID, "use": "sig"},
		{"kty": "RSA", "alg": "RS256", "kid": retired.ID, "use": "sig"},
	}
	if len(set.Keys) != len(want) {
		t.Fatalf("%d keys: %s", len(set.Keys), document)
	}
	for i, members := range want {
		for name, value := range members {
			if set.Keys[i][name] != value {
				t.Errorf("key %d: %s is %q, want %q", i, name, set.Keys[i][name], value)
			}
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, shown := set.Keys[i][private]; shown {
				t.Errorf("key %d shows its private member %s", i, private)
			}
		}
	}
}

func TestIssueRefusesWhatVerifyWouldMiss(t *testing.T) {
	key := newKey(t, token.EdDSA)
	for name, change := range map[string]func(*token.Claims){
		"no issuer":               func(c *token.Claims) { c.Issuer = "" },
		"no audience":             func(c *token.Claims) { c.Audience = "" },
		"no issue time":           func(c *token.Claims) { c.IssuedAt = time.Time{} },
		"no expiry":               func(c *token.Claims) { c.ExpiresAt = time.Time{} },
		"expiry before issue":     func(c *token.Claims) { c.ExpiresAt = noon.Add(-time.Second) },
		"a scope with a space":    func(c *token.Claims) { c.Scope = []string{"jobs:read admin"} },
		"an empty scope":          func(c *token.Claims) { c.Scope = []string{""} },
		"longer than the maximum": func(c *token.Claims) { c.Subject = strings.Repeat("x", token.MaxBytes) },
	} {
		claims := accessClaims()
		change(&claims)
		if signed, err := token.Issue(key, claims); err == nil {
			t.Errorf("%s: issued %s", name, signed)
		}
	}
	if _, err := token.Issue(token.SigningKey{}, accessClaims()); err == nil {
		t.Error("issued without a key")
	}
}

func TestAnOpaqueTokenIsFoundByItsHash(t *testing.T) {
	secret, hash := token.NewOpaque("gh_rt_")
	if !strings.HasPrefix(secret, "gh_rt_") || len(secret) != len("gh_rt_")+43 {
		t.Errorf("secret %q", secret)
	}
	if !token.HashOpaque(secret).Equal(hash) {
		t.Error("the hash of the secret is another")
	}
	other, otherHash := token.NewOpaque("gh_rt_")
	if other == secret || otherHash.Equal(hash) {
		t.Error("two tokens are equal")
	}
	if token.HashOpaque(strings.Repeat("x", token.MaxBytes+1)) != (token.OpaqueHash{}) {
		t.Error("a text above the bound was hashed")
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, algorithm := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		b.Run(string(algorithm), func(b *testing.B) {
			key := newKey(b, algorithm)
			keys, signed, options := keySet(b, key, nil), issue(b, key, accessClaims()), at(noon)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := token.Verify(keys, signed, options); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkIssue(b *testing.B) {
	key, claims := newKey(b, token.EdDSA), accessClaims()
	for b.Loop() {
		issue(b, key, claims)
	}
}
