package blob

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

func newSigner(t *testing.T, fill byte) Signer {
	t.Helper()
	signer, err := NewSigner(bytes.Repeat([]byte{fill}, MinSecretBytes))
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestALinkIsGoodForItsIDUntilItExpires(t *testing.T) {
	signer := newSigner(t, 1)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	link := signer.Sign("artifact-1", now.Add(time.Hour))
	values, err := url.ParseQuery(link)
	if err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) string {
		changed := url.Values{"expires": values["expires"], "signature": values["signature"]}
		changed.Set(name, value)
		return changed.Encode()
	}
	signature := values.Get("signature")
	for _, c := range []struct {
		name, id, query string
		signer          Signer
		now             time.Time
		want            error
	}{
		{"at once", "artifact-1", link, signer, now, nil},
		{"in the last second", "artifact-1", link, signer, now.Add(time.Hour - 1), nil},
		{"beside other parameters", "artifact-1", "download=1&" + link, signer, now, nil},
		{"at its time", "artifact-1", link, signer, now.Add(time.Hour), ErrExpired},
		{"for another id", "artifact-2", link, signer, now, ErrForged},
		{"with another secret", "artifact-1", link, newSigner(t, 2), now, ErrForged},
		{"with no secret", "artifact-1", Signer{}.Sign("artifact-1", now.Add(time.Hour)), Signer{}, now, ErrForged},
		{"with a later time", "artifact-1", with("expires", "9999999999"), signer, now, ErrForged},
		{"with the same time spelt otherwise", "artifact-1", with("expires", "+"+values.Get("expires")), signer, now, ErrForged},
		{"with a changed signature", "artifact-1", with("signature", "A"+signature[1:]+"A"), signer, now, ErrForged},
		{"with a cut signature", "artifact-1", with("signature", signature[:8]), signer, now, ErrForged},
		{"with two times", "artifact-1", link + "&expires=9999999999", signer, now, ErrForged},
		{"without anything", "artifact-1", "", signer, now, ErrForged},
		{"with a broken query", "artifact-1", "%zz", signer, now, ErrForged},
	} {
		if err := c.signer.Verify(c.id, c.query, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
}

func TestALineEndInAnIDMovesNothingIntoTheTime(t *testing.T) {
	signer := newSigner(t, 1)
	link := signer.Sign("9999999999\nvictim", time.Unix(1, 0))
	moved := strings.Replace(link, "expires=1&", "expires="+url.QueryEscape("1\n9999999999")+"&", 1)
	if err := signer.Verify("victim", moved, time.Unix(0, 0)); !errors.Is(err, ErrForged) {
		t.Errorf("error %v, want %v", err, ErrForged)
	}
}

func TestAShortSecretIsRefused(t *testing.T) {
	if _, err := NewSigner(make([]byte, MinSecretBytes-1)); err == nil {
		t.Error("a secret of 31 bytes was accepted")
	}
}

func TestTheSignerKeepsItsOwnSecret(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, MinSecretBytes)
	signer, err := NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	link := signer.Sign("a", time.Unix(10, 0))
	clear(secret)
	if err := signer.Verify("a", link, time.Unix(0, 0)); err != nil {
		t.Errorf("a caller that clears its secret breaks the signer: %v", err)
	}
}
