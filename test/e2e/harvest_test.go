package e2e

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// told are the fields by which people tell the server secrets, with how long a value is at the least that
// stands nowhere by chance.
var told = map[string]int{
	"password": 12, "currentPassword": 12, "newPassword": 12, "refreshToken": 20, "token": 20, "trustToken": 20,
	"code": needleHead, "state": 20, "exchangeCode": 20, "clientVerifier": 43, "challengeId": 20, "phoneNumber": 8,
}

// given are the fields by which the server gives secrets away.
var given = map[string]int{
	"accessToken": 20, "refreshToken": 20, "trustedDeviceToken": 20, "secret": 16, "clientSecret": 20, "key": 20,
	"recoveryCodes": 8, "ceremonyId": 20,
}

// hear remembers the secrets among the variables of a request.
func (s *sightings) hear(v vars) {
	text, err := json.Marshal(v)
	if err != nil {
		return // the request says so
	}
	s.harvest(told, text)
}

// harvest remembers what stands in a JSON text under the names of fields.
func (s *sightings) harvest(fields map[string]int, text []byte) {
	var value any
	if json.Unmarshal(text, &value) == nil {
		s.gather(fields, "", value)
	}
}

func (s *sightings) gather(fields map[string]int, name string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			s.gather(fields, name, inner)
		}
	case []any:
		for _, inner := range value {
			s.gather(fields, name, inner)
		}
	case string:
		least, secret := fields[name]
		if name == "key" && !strings.HasPrefix(value, "gh_") { // the id of one
			return
		}
		opens := name == "id" && strings.HasPrefix(value, "chl_") // whoever knows it has shown the first factor
		if opens || secret && len(value) >= least && strings.Trim(value, "0") != "" {
			s.add(name, value)
		}
	}
}

// hearMail remembers what a mail or an SMS shows to nobody but its reader.
func (s *sightings) hearMail(m mail) {
	s.add("code of a mail", m.Code)
	s.add("token of a link", m.token())
	if link, err := url.Parse(m.Link); err == nil {
		s.add("token of a link", link.Fragment)
	}
	s.add("address of a mail", m.To)
	s.add("phone number", strings.TrimPrefix(m.To, "+"))
}

func TestEverySecretThatIsToldOrGivenIsLookedForAfterwards(t *testing.T) {
	t.Parallel()
	s := newSightings()
	s.hear(vars{"in": vars{"email": "nobody@example.com", "password": "Tea at four, always", "code": "314159", "device": vars{"trustToken": "ghd_0123456789abcdef"}}})
	s.harvest(given, []byte(`{"data": {"a": {"outcome": {"id": "chl_0123456789abcdefghi", "refreshToken": "ghr_0123456789abcdef"},
		"recoveryCodes": ["abcd-efgh-ijkl"], "user": {"id": "usr_0123456789abcdefghi"}, "details": {"key": "key_0123456789abcdefghi"}, "userErrors": [{"code": "INVALID_CODE"}]}}}`))
	s.hearMail(mail{To: "+491701234567", Code: "161803", Link: "http://localhost/links/x?token=gh_x_0123456789abcdef"})
	want := []string{
		"Tea at four, always", "314159", "ghd_0123456789abcdef", "chl_0123456789abcdefghi", "ghr_0123456789abcdef", "abcd-efgh-ijkl",
		"161803", "gh_x_0123456789abcdef", "+491701234567", "491701234567",
	}
	for _, secret := range want {
		if _, known := s.all[secret]; !known {
			t.Errorf("%q is not looked for", secret)
		}
	}
	if len(s.all) != len(want) {
		t.Errorf("looked for are %v", s.all)
	}
}
