package totp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/account/totp"
)

// noon is in the middle of a step.
var noon = time.Date(2026, 3, 1, 12, 0, 15, 0, time.UTC)

func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestCodesAreTheExamplesOfRFC4226AppendixD(t *testing.T) {
	var example struct {
		Secret string
		Codes  []string
	}
	readVectors(t, "rfc4226-appendix-d.json", &example)
	key := totp.Key([]byte(example.Secret))
	for count, want := range example.Codes {
		if got := key.Code(totp.Step(count)); got != want {
			t.Errorf("count %d: got %s, want %s", count, got, want)
		}
	}
}

// The RFC shows eight digits; six are the last of them, since both are one number modulo a power of ten.
func TestCodesAndStepsAreTheExamplesOfRFC6238AppendixB(t *testing.T) {
	var example struct {
		Secret string
		Rows   []struct {
			Time time.Time
			Step string
			TOTP string
		}
	}
	readVectors(t, "rfc6238-appendix-b.json", &example)
	key := totp.Key([]byte(example.Secret))
	for _, row := range example.Rows {
		step, err := strconv.ParseInt(row.Step, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		want := row.TOTP[len(row.TOTP)-totp.Digits:]
		if got := totp.StepAt(row.Time); got != totp.Step(step) {
			t.Errorf("%v: step %d, want %d", row.Time, got, step)
		}
		if got := key.Code(totp.Step(step)); got != want {
			t.Errorf("%v: code %s, want %s", row.Time, got, want)
		}
		if got, err := totp.Verify(key, want, row.Time, 0); err != nil || got != totp.Step(step) {
			t.Errorf("%v: verified as step %d, %v; want %d", row.Time, got, err, step)
		}
	}
}

func TestACodeHoldsForItsStepAndOneOnEitherSide(t *testing.T) {
	key, now := totp.New(), totp.StepAt(noon)
	for offset := totp.Step(-4); offset <= 4; offset++ {
		want := error(nil)
		if offset < -1 || offset > 1 {
			want = totp.ErrWrong
		}
		step, err := totp.Verify(key, key.Code(now+offset), noon, 0)
		if !errors.Is(err, want) || want == nil && step != now+offset {
			t.Errorf("%+d steps: got step %+d, %v; want %v", offset, step-now, err, want)
		}
	}
}

func TestACodeIsGoodOnce(t *testing.T) {
	key, now := totp.New(), totp.StepAt(noon)
	last, err := totp.Verify(key, key.Code(now), noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[totp.Step]error{-1: totp.ErrReused, 0: totp.ErrReused, 1: nil} {
		if _, err := totp.Verify(key, key.Code(now+offset), noon, last); !errors.Is(err, want) {
			t.Errorf("%+d steps from the one used: got %v, want %v", offset, err, want)
		}
	}
}

func TestOnlySixASCIIDigitsAndSpacesAreACode(t *testing.T) {
	key := totp.New()
	code := key.Code(totp.StepAt(noon))
	spaced := code[:3] + " " + code[3:]
	for typed, want := range map[string]error{
		code:                             nil,
		spaced:                           nil,
		" " + spaced + "\t":              nil,
		code[:3] + "\u00a0" + code[3:]:   nil,
		code[:3] + "\u202f" + code[3:]:   nil,
		strings.Join(split(code), " "):   nil,
		"":                               totp.ErrWrong,
		"      ":                         totp.ErrWrong,
		code[:5]:                         totp.ErrWrong,
		code + "0":                       totp.ErrWrong,
		"0" + code:                       totp.ErrWrong,
		"+" + code[1:]:                   totp.ErrWrong,
		code + "\x00":                    totp.ErrWrong,
		code + "\n":                      totp.ErrWrong,
		code[:3] + "-" + code[3:]:        totp.ErrWrong,
		spaced + strings.Repeat(" ", 64): totp.ErrWrong,
		digitsOf('٠', code):              totp.ErrWrong, // Arabic-Indic
		digitsOf('０', code):              totp.ErrWrong, // full width
		digitsOf('𝟎', code):              totp.ErrWrong, // mathematical
	} {
		if _, err := totp.Verify(key, typed, noon, 0); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", typed, err, want)
		}
	}
}

func split(code string) []string { return strings.Split(code, "") }

// digitsOf writes code in another script, whose zero is given.
func digitsOf(zero rune, code string) string {
	return strings.Map(func(c rune) rune { return zero + c - '0' }, code)
}

func TestTimesBefore1970HaveNoCodes(t *testing.T) {
	key := totp.New()
	for _, now := range []time.Time{{}, time.Unix(-1, 0), time.Unix(-1e9, 0)} {
		if got := totp.StepAt(now); got != 0 {
			t.Errorf("%v is step %d", now, got)
		}
		for step := totp.Step(-2); step <= 0; step++ {
			if _, err := totp.Verify(key, key.Code(step), now, 0); !errors.Is(err, totp.ErrWrong) {
				t.Errorf("%v, step %d: got %v, want ErrWrong", now, step, err)
			}
		}
	}
}

// Whatever is typed whenever, accepted steps only grow, are within one of now, and a fresh code is
// never refused unless its digits were used before.
func TestEachStepIsAcceptedAtMostOnceWhateverTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := totp.Key(rapid.SliceOfN(rapid.Byte(), totp.KeyBytes, totp.KeyBytes).Draw(t, "key"))
		now := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "start"), 0)
		last, used := totp.Step(0), map[totp.Step]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "attempts") {
			now = now.Add(time.Duration(rapid.IntRange(-45, 60).Draw(t, "seconds")) * time.Second)
			shown := totp.StepAt(now) + totp.Step(rapid.IntRange(-3, 3).Draw(t, "offset"))
			code := key.Code(shown)
			step, err := totp.Verify(key, code, now, last)
			distance := step - totp.StepAt(now)
			switch {
			case err == nil && (used[step] || step <= last):
				t.Fatalf("step %d accepted again after %d", step, last)
			case err == nil && (distance < -1 || distance > 1 || key.Code(step) != code):
				t.Fatalf("accepted %s as step %d at step %d", code, step, totp.StepAt(now))
			case errors.Is(err, totp.ErrWrong) && near(key, code, now, 1):
				t.Fatalf("step %d refused at step %d", shown, totp.StepAt(now))
			case errors.Is(err, totp.ErrReused) && !near(key, code, now, 1):
				t.Fatalf("step %d is told to be used at step %d", shown, totp.StepAt(now))
			case errors.Is(err, totp.ErrReused) && shown > last && !near(key, code, time.Unix(int64(last)*30, 0), 2):
				t.Fatalf("step %d refused as used after %d", shown, last)
			}
			if err == nil {
				last, used[step] = step, true
			}
		}
	})
}

// near reports whether code is the key's at most reach steps off now.
func near(key totp.Key, code string, now time.Time, reach totp.Step) bool {
	for step := max(totp.StepAt(now)-reach, 1); step <= totp.StepAt(now)+reach; step++ {
		if key.Code(step) == code {
			return true
		}
	}
	return false
}

func TestAKeyIsReadAsItIsWrittenAndAsAPersonCopiesIt(t *testing.T) {
	key := totp.New()
	text := key.Text()
	if key == totp.New() {
		t.Fatal("two keys are equal")
	}
	for _, copied := range []string{
		text, strings.ToLower(text), text[:4] + " " + text[4:], " " + text[:8] + "-" + text[8:] + " ",
	} {
		if got, err := totp.Parse(copied); err != nil || got != key {
			t.Errorf("%q: got %s, %v", copied, got.Text(), err)
		}
	}
	for name, wrong := range map[string]string{
		"empty": "", "short": text[:31], "long": text + "A", "padded": text + "========",
		"8 for B": "8" + text[1:], "line break": text[:31] + "\n", "line break more": text + "\n",
		"spaces without end": strings.Repeat(" ", 100) + text, "80 bits": text[:16],
	} {
		if _, err := totp.Parse(wrong); !errors.Is(err, totp.ErrKey) {
			t.Errorf("%s: got %v, want ErrKey", name, err)
		}
	}
}

func TestAKeyDoesNotShowItself(t *testing.T) {
	key := totp.New()
	encoded, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("enrolled", "key", key)
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s", key, key, key, key), string(encoded), log.String()} {
		if !strings.Contains(shown, "[TOTP key]") || strings.Contains(shown, key.Text()) || len(shown) > 150 {
			t.Errorf("the key shows: %s", shown)
		}
	}
}

func TestTheURIKeepsItsNamesWhateverTheyHold(t *testing.T) {
	key := totp.New()
	for _, row := range []struct{ issuer, account, wantIssuer, wantAccount string }{
		{"Gatehouse", "ada@example.com", "Gatehouse", "ada@example.com"},
		{"Gate House", "ada+news@example.com", "Gate House", "ada+news@example.com"},
		{"A&B=C?d#e/f%20", "x?secret=AAAA&issuer=evil", "A&B=C?d#e/f%20", "x?secret=AAAA&issuer=evil"},
		{"Käse:Haus", "ada:x@пример.example", "Käse Haus", "ada x@пример.example"},
	} {
		uri, err := url.Parse(key.URI(row.issuer, row.account))
		if err != nil {
			t.Fatal(err)
		}
		issuer, account, _ := strings.Cut(strings.TrimPrefix(uri.Path, "/"), ":")
		query := uri.Query()
		if uri.Scheme != "otpauth" || uri.Host != "totp" || uri.Fragment != "" {
			t.Errorf("%q: no URI of a TOTP", uri)
		}
		if issuer != row.wantIssuer || query.Get("issuer") != row.wantIssuer || account != row.wantAccount {
			t.Errorf("%q: label %q:%q, issuer %q", uri, issuer, account, query.Get("issuer"))
		}
		if strings.Contains(uri.String(), "+") {
			t.Errorf("%q: an app shows the plus sign", uri)
		}
		read, err := totp.Parse(query.Get("secret"))
		if err != nil || read != key || len(query["secret"]) != 1 {
			t.Errorf("%q: the key is lost: %v", uri, err)
		}
		if query.Get("digits") != "6" || query.Get("period") != "30" || query.Get("algorithm") != "SHA1" {
			t.Errorf("%q: parameters", uri)
		}
	}
}

// FuzzVerify looks for a text that is accepted though it is not a code of the three steps.
func FuzzVerify(f *testing.F) {
	key := totp.Key([]byte("12345678901234567890"))
	for offset := time.Duration(-2); offset <= 2; offset++ {
		f.Add(key.Code(totp.StepAt(noon.Add(offset * totp.Period))))
	}
	f.Add("755 224")
	f.Add("٧٥٥٢٢٤")
	f.Fuzz(func(t *testing.T, typed string) {
		step, err := totp.Verify(key, typed, noon, 0)
		if err != nil {
			return
		}
		plain := strings.Map(func(c rune) rune {
			if c >= '0' && c <= '9' {
				return c
			}
			return -1
		}, typed)
		if plain != key.Code(step) || max(step-totp.StepAt(noon), totp.StepAt(noon)-step) > 1 {
			t.Fatalf("accepted %q as step %d", typed, step)
		}
	})
}

// FuzzParse looks for a text that is read as a key which is not written that way.
func FuzzParse(f *testing.F) {
	f.Add("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	f.Add("gezd gnbv gy3t qojq gezd-gnbv-gy3t-qojq")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := totp.Parse(text)
		if err != nil {
			return
		}
		if plain := strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(text)); key.Text() != plain {
			t.Fatalf("%q is read as %s", text, key.Text())
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	key := totp.New()
	code := key.Code(totp.StepAt(noon))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := totp.Verify(key, code, noon, 0); err != nil {
			b.Fatal(err)
		}
	}
}
