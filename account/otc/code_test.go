package otc

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/internal/secret"
)

const (
	login Purpose   = "login"
	reset Purpose   = "reset-password"
	first Challenge = "chl_1"
)

func TestACodeIsSixDigitsAndAnswersItsOwnQuestionOnly(t *testing.T) {
	key, code := secret.NewKey(), New()
	if len(code) != Digits || strings.Trim(code, "0123456789") != "" {
		t.Fatalf("code %q", code)
	}
	stored := Hash(key, login, first, code)
	for name, row := range map[string]struct {
		key       secret.Key
		purpose   Purpose
		challenge Challenge
		typed     string
		want      bool
	}{
		"as sent":               {key, login, first, code, true},
		"in two groups":         {key, login, first, code[:3] + " " + code[3:], true},
		"with a dash":           {key, login, first, code[:3] + "-" + code[3:], true},
		"pasted with spaces":    {key, login, first, "\t" + code + " ", true},
		"another code":          {key, login, first, another(code), false},
		"another purpose":       {key, reset, first, code, false},
		"another challenge":     {key, login, "chl_2", code, false},
		"another key":           {secret.NewKey(), login, first, code, false},
		"moved across a border": {key, login + "c", "hl_1", code, false},
		"empty":                 {key, login, first, "", false},
		"too few digits":        {key, login, first, code[:5], false},
		"too many digits":       {key, login, first, code + "0", false},
		"a sign":                {key, login, first, "+" + code[1:], false},
		"a line break":          {key, login, first, code + "\n", false},
		"a null byte":           {key, login, first, code + "\x00", false},
		"full width":            {key, login, first, strings.Map(func(c rune) rune { return c - '0' + '０' }, code), false},
		"many spaces":           {key, login, first, code + strings.Repeat(" ", maxTypedBytes), false},
	} {
		if got := Check(row.key, stored, row.purpose, row.challenge, row.typed); got != row.want {
			t.Errorf("%s: %q: got %v, want %v", name, row.typed, got, row.want)
		}
	}
}

// another returns a code that differs in its last digit.
func another(code string) string {
	return code[:Digits-1] + string('0'+(code[Digits-1]-'0'+1)%10)
}

// Below fair each code has the same number of numbers, since fair is a multiple of their number, and
// whatever is above is refused.
func TestEveryCodeIsAsLikelyAsAnyOther(t *testing.T) {
	if fair%codes != 0 || uint64(fair)+codes <= 1<<32 {
		t.Fatalf("%d is not the greatest multiple of %d in 32 bits", uint64(fair), codes)
	}
	for random, want := range map[uint32]string{
		0: "000000", 1: "000001", 999_999: "999999", 1_000_000: "000000", fair - 1: "999999", fair: "", 1<<32 - 1: "",
	} {
		code, ok := codeOf(random)
		if ok != (want != "") || ok && code != want {
			t.Errorf("%d: got %q, %v; want %q", random, code, ok, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		random := rapid.Uint32Range(0, fair-codes-1).Draw(t, "random")
		code, ok := codeOf(random)
		if next, _ := codeOf(random + codes); !ok || next != code || len(code) != Digits {
			t.Fatalf("%d gives %q, %v; one round later %q", random, code, ok, next)
		}
	})
}

func TestEachDigitTakesEveryValue(t *testing.T) {
	var seen [Digits][10]int
	for range 2000 {
		for i, digit := range []byte(New()) {
			seen[i][digit-'0']++
		}
	}
	for i, counts := range seen {
		for digit, count := range counts {
			if count < 100 || count > 300 { // 200 ± 7.5 standard deviations
				t.Errorf("digit %d is %d in %d of 2000 codes", i, digit, count)
			}
		}
	}
}

func TestALinkIsFoundByItsHashForItsPurposeOnly(t *testing.T) {
	text, hash := NewLink(reset)
	if !strings.HasPrefix(text, "gh_reset-password_") || len(text) != len("gh_reset-password_")+43 {
		t.Fatalf("link %q", text)
	}
	for name, row := range map[string]struct {
		purpose Purpose
		text    string
		want    bool
	}{
		"as sent":         {reset, text, true},
		"broken by mail":  {reset, " " + text[:30] + "\r\n" + text[30:] + "\n", true},
		"another purpose": {login, text, false},
		"part of a name":  {"reset", text, false},
		"renamed":         {login, strings.Replace(text, "reset-password", "login", 1), false},
		"without prefix":  {reset, strings.TrimPrefix(text, "gh_reset-password_"), false},
		"cut short":       {reset, text[:len(text)-1], false},
		"longer":          {reset, text + "A", false},
		"other letters":   {reset, text[:len(text)-1] + string(text[len(text)-1]^1), false},
		"empty":           {reset, "", false},
		"very long":       {reset, text + strings.Repeat(" ", 256), false},
	} {
		got, ok := HashLink(row.purpose, row.text)
		if found := ok && got.Equal(hash); found != row.want {
			t.Errorf("%s: %q: found %v, want %v", name, row.text, found, row.want)
		}
	}
	for _, wrong := range []string{text[:len(text)-1], text + "A", "gh_reset-password_"} {
		if _, ok := HashLink(reset, wrong); ok {
			t.Errorf("%q is worth a look into the store", wrong)
		}
	}
	if other, otherHash := NewLink(reset); other == text || otherHash.Equal(hash) {
		t.Error("two links are equal")
	}
}

// FuzzCheck looks for a text that is accepted though it is not the code.
func FuzzCheck(f *testing.F) {
	key := secret.Key([]byte("key of the fuzzing: no more secret"[:32]))
	stored := Hash(key, login, first, "012345")
	for _, seed := range []string{"012345", "012 345", "012-345", "12345", "0123456", "٠١٢٣٤٥"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		plain := strings.NewReplacer(" ", "", "-", "", "\t", "", "\u00a0", "").Replace(typed)
		if got := Check(key, stored, login, first, typed); got != (plain == "012345" && len(typed) <= maxTypedBytes) {
			t.Fatalf("%q: %v", typed, got)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	key, code := secret.NewKey(), New()
	stored := Hash(key, login, first, code)
	b.ReportAllocs()
	for b.Loop() {
		if !Check(key, stored, login, first, code) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New()
	}
}
