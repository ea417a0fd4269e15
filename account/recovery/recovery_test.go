package recovery_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/account/recovery"
)

func TestTenCodesAreDrawnInReadableGroupsAndEachFindsItsHash(t *testing.T) {
	codes, hashes := recovery.New()
	if len(codes) != 10 || len(hashes) != 10 {
		t.Fatalf("%d codes, %d hashes", len(codes), len(hashes))
	}
	form := regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3}$`)
	seen := map[string]bool{}
	for i, code := range codes {
		if !form.MatchString(code) || seen[code] {
			t.Errorf("code %q", code)
		}
		seen[code] = true
		if index, ok := recovery.Match(hashes, code); !ok || index != i {
			t.Errorf("code %d matches %d, %v", i, index, ok)
		}
	}
}

// Sixteen characters of five bits each, none of them fixed: 80 bits.
func TestEveryCharacterOfACodeTakesEveryValue(t *testing.T) {
	seen := make([]map[byte]bool, 16)
	for range 100 {
		codes, _ := recovery.New()
		for _, code := range codes {
			for i, c := range []byte(strings.ReplaceAll(code, "-", "")) {
				if seen[i] == nil {
					seen[i] = map[byte]bool{}
				}
				seen[i][c] = true
			}
		}
	}
	for i, values := range seen {
		if len(values) != 32 { // the odds that 1,000 draws miss one: 8·10⁻¹²
			t.Errorf("character %d takes %d values in 1,000 codes, want 32", i, len(values))
		}
	}
}

// mistyped are the ways in which a person writes a code down.
var mistyped = map[string]func(string) string{
	"as shown":      func(code string) string { return code },
	"large":         strings.ToUpper,
	"no dashes":     func(code string) string { return strings.ReplaceAll(code, "-", "") },
	"spaces":        func(code string) string { return "  " + strings.ReplaceAll(code, "-", " ") + " " },
	"long dashes":   func(code string) string { return strings.ReplaceAll(code, "-", "–") },
	"O for 0":       func(code string) string { return strings.ReplaceAll(code, "0", "O") },
	"o for 0":       func(code string) string { return strings.ReplaceAll(code, "0", "o") },
	"I for 1":       func(code string) string { return strings.ReplaceAll(code, "1", "I") },
	"l for 1":       func(code string) string { return strings.ReplaceAll(code, "1", "l") },
	"every letter":  func(code string) string { return strings.Join(strings.Split(code, ""), " ") },
	"no-break":      func(code string) string { return strings.ReplaceAll(code, "-", "\u00a0") },
	"with a tab":    func(code string) string { return code + "\t" },
	"several signs": func(code string) string { return strings.ReplaceAll(code, "-", " - ") },
}

func TestACodeIsFoundHoweverItIsTyped(t *testing.T) {
	codes, hashes := recovery.New()
	for i, code := range codes {
		for name, write := range mistyped {
			if index, ok := recovery.Match(hashes, write(code)); !ok || index != i {
				t.Errorf("%s: %q matches %d, %v; want %d", name, write(code), index, ok, i)
			}
		}
	}
}

func TestWhatIsNoCodeMatchesNothing(t *testing.T) {
	codes, hashes := recovery.New()
	others, _ := recovery.New()
	code := codes[3]
	for name, typed := range map[string]string{
		"empty": "", "dashes": "---", "of another set": others[3], "short": code[:len(code)-1], "long": code + "0",
		"two codes": code + code, "a u": "u" + code[1:], "null byte": code + "\x00", "line break": code + "\n",
		"not ASCII": "é" + code[2:], "no UTF-8": "\xff" + code[1:], "full width": "０" + code[1:],
		"too many spaces": code + strings.Repeat(" ", 128),
	} {
		if index, ok := recovery.Match(hashes, typed); ok || index != 0 {
			t.Errorf("%s: %q matches %d", name, typed, index)
		}
	}
	if _, ok := recovery.Match(nil, code); ok {
		t.Error("matches no hashes")
	}
	if _, ok := recovery.Match([]recovery.Hash{{}}, code); ok {
		t.Error("matches an empty hash")
	}
}

func TestTwoHashesOfACodeShareNothing(t *testing.T) {
	_, hashes := recovery.New()
	salts := map[string]bool{}
	for _, hash := range hashes {
		salts[string(hash[:16])] = true
	}
	if len(salts) != len(hashes) || recovery.HashBytes != 48 {
		t.Errorf("%d salts for %d hashes of %d bytes", len(salts), len(hashes), recovery.HashBytes)
	}
}

// However codes are used and the set renewed, each one is good exactly once.
func TestACodeTakenOutOfTheSetIsNeverFoundAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		codes, hashes := recovery.New()
		used := map[string]bool{}
		for range rapid.IntRange(1, 25).Draw(t, "tries") {
			code := codes[rapid.IntRange(0, len(codes)-1).Draw(t, "code")]
			write := rapid.SampledFrom([]string{"as shown", "large", "no dashes", "O for 0"}).Draw(t, "typed")
			index, ok := recovery.Match(hashes, mistyped[write](code))
			if ok == used[code] {
				t.Fatalf("code used %v, found %v", used[code], ok)
			}
			if ok {
				hashes = append(hashes[:index], hashes[index+1:]...)
				used[code] = true
			}
		}
		if len(hashes)+len(used) != recovery.Count {
			t.Fatalf("%d left, %d used", len(hashes), len(used))
		}
	})
}

// FuzzMatch looks for a text that matches though it does not spell the code.
func FuzzMatch(f *testing.F) {
	codes, hashes := recovery.New()
	f.Add(codes[0])
	f.Add(strings.ToUpper(codes[9]))
	f.Add("OIl0-1234-abcd-efgh")
	f.Fuzz(func(t *testing.T, typed string) {
		index, ok := recovery.Match(hashes, typed)
		if !ok {
			return
		}
		spelled := strings.ToLower(strings.Join(strings.FieldsFunc(typed, func(c rune) bool {
			return strings.ContainsRune(" \t\u00a0-‐‑‒–—―−", c)
		}), ""))
		spelled = strings.NewReplacer("o", "0", "i", "1", "l", "1").Replace(spelled)
		if spelled != strings.ReplaceAll(codes[index], "-", "") {
			t.Fatalf("%q matches code %d", typed, index)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	codes, hashes := recovery.New()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := recovery.Match(hashes, codes[9]); !ok {
			b.Fatal("no match")
		}
	}
}
