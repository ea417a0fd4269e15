package notify

import (
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// update writes what is rendered now as what was reviewed: go test -run Reviewed -update, then read it.
var update = flag.Bool("update", false, "write testdata anew")

const (
	testLink = "https://example.com/confirm?token=Zm9vYmFy-_x&then=%2Fhome"
	testCode = "493028"
)

var testMoment = time.Date(2026, time.March, 5, 14, 7, 9, 0, time.FixedZone("CET", 3600))

func newPost(t testing.TB, o Options) *Post {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// full returns a message in which every field is filled in.
func full(kind Kind, medium Medium) Message {
	m := Message{
		ID: "job_1", Kind: kind, To: "ada@example.com", Name: "Ada Lovelace",
		Link: testLink, Code: testCode, Minutes: 15, At: testMoment, Due: testMoment.AddDate(0, 0, 14),
		Device: "Firefox on Windows", Network: "203.0.113.0/24", Factor: "Blue security key",
		Provider: "Example ID", By: "Grace Hopper", Reason: "Ticket 4711", Left: 7, Machine: "Nightly report",
	}
	if medium == BySMS {
		m.To = "+491701234567"
	}
	return m
}

// eachMessage calls test for each kind in each language by each medium that it takes.
func eachMessage(t *testing.T, test func(t *testing.T, m Message, shape shape)) {
	for _, kind := range Kinds() {
		for _, medium := range shapes[kind].media {
			for _, tag := range languages {
				m := full(kind, medium)
				m.Locale = tag
				t.Run(fmt.Sprintf("%s/%s/%s", kind, medium, tag), func(t *testing.T) { test(t, m, shapes[kind]) })
			}
		}
	}
}

// shown returns what a field looks like in a message.
func shown(t *testing.T, l *language, m Message) map[fields]string {
	t.Helper()
	expiry, err := l.duration(m.Minutes)
	if err != nil {
		t.Fatal(err)
	}
	at, err := l.moment(m.At)
	if err != nil {
		t.Fatal(err)
	}
	due, err := l.moment(m.Due)
	if err != nil {
		t.Fatal(err)
	}
	return map[fields]string{
		hasLink: m.Link, hasCode: m.Code, hasMinutes: expiry, hasAt: at, hasDue: due, hasDevice: m.Device,
		hasNetwork: m.Network, hasFactor: m.Factor, hasProvider: m.Provider, hasBy: m.By, hasReason: m.Reason,
		hasMachine: m.Machine,
	}
}

var tags = regexp.MustCompile(`<[^>]*>`)

func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestEveryMessageSaysAllItsDataInEveryLanguage(t *testing.T) {
	p := newPost(t, Options{Host: "example.com"})
	eachMessage(t, func(t *testing.T, m Message, shape shape) {
		r, err := p.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		plain, rich := unwrapped(r.Text), unwrapped(html.UnescapeString(tags.ReplaceAllString(r.HTML, " ")))
		needs := shape.needs | shape.may
		if m.Medium() == ByMail {
			needs |= hasAt | hasDevice | hasNetwork
		}
		for field, text := range shown(t, p.words[m.Locale], m) {
			if needs&field == 0 {
				continue
			}
			if !strings.Contains(plain, text) {
				t.Errorf("the text lacks %q:\n%s", text, r.Text)
			}
			if m.Medium() == ByMail && !strings.Contains(rich, text) {
				t.Errorf("the HTML lacks %q:\n%s", text, r.HTML)
			}
		}
		for _, text := range []string{r.Subject, r.Text, r.HTML} {
			if strings.Contains(text, "no value") || strings.Contains(text, "ZgotmplZ") || strings.Contains(text, "{{") {
				t.Errorf("a template was not filled in:\n%s", text)
			}
		}
		if r.Language != m.Locale || r.To != m.To || r.Kind != m.Kind || r.ID != m.ID {
			t.Errorf("rendered %+v", r)
		}
		if m.Medium() == ByMail && (!strings.Contains(plain, "Gatehouse") || !strings.Contains(plain, m.Name)) {
			t.Errorf("neither product nor name:\n%s", r.Text)
		}
	})
}

func TestAMessageWithoutItsOptionalPartsReadsWell(t *testing.T) {
	p := newPost(t, Options{})
	eachMessage(t, func(t *testing.T, m Message, shape shape) {
		bare := Message{Kind: m.Kind, To: m.To, Locale: m.Locale}
		for field, fill := range map[fields]func(){
			hasLink: func() { bare.Link = m.Link }, hasCode: func() { bare.Code = m.Code },
			hasMinutes: func() { bare.Minutes = m.Minutes }, hasAt: func() { bare.At = m.At },
			hasDue: func() { bare.Due = m.Due }, hasDevice: func() { bare.Device = m.Device },
			hasNetwork: func() { bare.Network = m.Network }, hasFactor: func() { bare.Factor = m.Factor },
			hasProvider: func() { bare.Provider = m.Provider }, hasBy: func() { bare.By = m.By },
			hasReason: func() { bare.Reason = m.Reason }, hasMachine: func() { bare.Machine = m.Machine },
		} {
			if shape.needs&field != 0 {
				fill()
			}
		}
		r, err := p.Render(bare)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r.Text, "\n\n\n") || strings.Contains(r.Text, ":\n\n") && bare.Code == "" && !strings.HasPrefix(r.Text, "Hola:") {
			t.Errorf("something is announced and missing:\n%s", r.Text)
		}
		if bare.Link == "" && strings.Contains(r.HTML, "<a ") {
			t.Errorf("a link without an address:\n%s", r.HTML)
		}
	})
}

func TestSubjectsAndLinesKeepTheirLength(t *testing.T) {
	p := newPost(t, Options{Product: strings.Repeat("Ü", maxProduct)})
	eachMessage(t, func(t *testing.T, m Message, _ shape) {
		r, err := p.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		if m.Medium() == BySMS {
			return
		}
		if n := utf8.RuneCountInString(r.Subject); n == 0 || n > 78 || strings.ContainsAny(r.Subject, "\r\n") {
			t.Errorf("a subject of %d characters: %q", n, r.Subject)
		}
		for line := range strings.SplitSeq(r.Text, "\n") {
			if n := utf8.RuneCountInString(line); n > 76 && line != testLink {
				t.Errorf("a line of %d characters: %q", n, line)
			}
			if strings.TrimRight(line, " ") != line && line != "-- " {
				t.Errorf("a line ends with a space: %q", line)
			}
		}
	})
}

func TestHTMLLoadsAndRunsNothing(t *testing.T) {
	p := newPost(t, Options{})
	eachMessage(t, func(t *testing.T, m Message, _ shape) {
		r, err := p.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"<img", "<script", "<link", "<style", "<table", "url(", " src=", "@import"} {
			if strings.Contains(r.HTML, word) {
				t.Errorf("the HTML has %q", word)
			}
		}
		for _, href := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(r.HTML, -1) {
			if html.UnescapeString(href[1]) != m.Link {
				t.Errorf("the HTML links to %q", href[1])
			}
		}
	})
}

// gsm7 is the basic alphabet of 3GPP TS 23.038 §6.2.1: 160 of its characters fit into one SMS.
const gsm7 = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"

func TestAnSMSFitsIntoOneAndBindsItsCode(t *testing.T) {
	p := newPost(t, Options{Host: "accounts.example.com"})
	eachMessage(t, func(t *testing.T, m Message, _ shape) {
		if m.Medium() != BySMS {
			return
		}
		r, err := p.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		if n := utf8.RuneCountInString(r.Text); n > 160 {
			t.Errorf("%d characters: %q", n, r.Text)
		}
		for _, c := range r.Text {
			if !strings.ContainsRune(gsm7, c) {
				t.Errorf("beyond GSM 7 bit: %q in %q", c, r.Text)
			}
		}
		lines := strings.Split(r.Text, "\n")
		if len(lines) != 2 || lines[1] != "@accounts.example.com #"+testCode {
			t.Errorf("the last line does not bind the code: %q", r.Text)
		}
		if r.Subject != "" || r.HTML != "" {
			t.Errorf("an SMS with subject %q and HTML %q", r.Subject, r.HTML)
		}
	})
	unbound, err := newPost(t, Options{}).Render(full(MfaCode, BySMS))
	if err != nil || strings.ContainsAny(unbound.Text, "@#\n") {
		t.Errorf("without a host: %q, error %v", unbound.Text, err)
	}
}

func TestTheLocaleChoosesTheLanguage(t *testing.T) {
	p := newPost(t, Options{})
	for locale, want := range map[string]string{
		"": "en", "en": "en", "en-GB": "en", "de": "de", "de-AT": "de", "DE_ch": "de", "es-419": "es", "es": "es",
		"fr": "en", "den": "en", "-": "en", "x-klingon": "en", "d": "en", "../de": "en",
	} {
		m := full(PasswordReset, ByMail)
		m.Locale = locale
		r, err := p.Render(m)
		if err != nil || r.Language != want || !strings.Contains(r.HTML, `<html lang="`+want+`">`) {
			t.Errorf("%q gives %q, error %v; want %q", locale, r.Language, err, want)
		}
	}
}

func TestDurationsAndMomentsReadAsInTheLanguage(t *testing.T) {
	p := newPost(t, Options{})
	for tag, want := range map[string][]string{
		"en": {"1 minute", "15 minutes", "90 minutes", "1 hour", "2 hours", "1 day", "7 days", "5 March 2026, 13:07 UTC"},
		"de": {"1 Minute", "15 Minuten", "90 Minuten", "1 Stunde", "2 Stunden", "1 Tag", "7 Tage", "5. März 2026, 13:07 Uhr (UTC)"},
		"es": {"1 minuto", "15 minutos", "90 minutos", "1 hora", "2 horas", "1 día", "7 días", "5 de marzo de 2026, 13:07 (UTC)"},
	} {
		l := p.words[tag]
		var got []string
		for _, minutes := range []int{1, 15, 90, 60, 120, 1440, 7 * 1440} {
			said, err := l.duration(minutes)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, said)
		}
		moment, err := l.moment(testMoment)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, append(got, moment)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tag, diff)
		}
	}
}

func TestHowManyRecoveryCodesAreLeftIsSaid(t *testing.T) {
	p := newPost(t, Options{})
	for left, want := range map[int]string{0: "the last one", 1: "one code left", 2: "2 codes left", 9: "9 codes left"} {
		m := full(RecoveryCodeUsed, ByMail)
		m.Left = left
		r, err := p.Render(m)
		if err != nil || !strings.Contains(unwrapped(r.Text), want) {
			t.Errorf("%d left, error %v:\n%s", left, err, r.Text)
		}
	}
}

func TestARenderedMessageIsTheSameAsTheOneThatWasReviewed(t *testing.T) {
	p := newPost(t, Options{Host: "example.com"})
	for name, m := range map[string]Message{
		"newDevice.de": {Kind: NewDevice, Locale: "de-AT"}, "verifyEmail.en": {Kind: VerifyEmail},
		"recoveryCodeUsed.es": {Kind: RecoveryCodeUsed, Locale: "es"},
	} {
		whole := full(m.Kind, ByMail)
		whole.Locale = m.Locale
		r, err := p.Render(whole)
		if err != nil {
			t.Fatal(err)
		}
		for suffix, got := range map[string]string{".txt": "Subject: " + r.Subject + "\n\n" + r.Text, ".html": r.HTML} {
			path := filepath.Join("testdata", name+suffix)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s%s (-want +got):\n%s", name, suffix, diff)
			}
		}
	}
}

// hostile draws texts that somebody might choose as a name.
func hostile() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.OneOf(
			rapid.StringN(0, 20, 80),
			rapid.SampledFrom([]string{
				"\r\nBcc: eve@example.org\r\n\r\n", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`,
				"https://evil.example/pay", "www.evil.example", "evil.example", "evil。example", "evil．com", "javascript:alert(1)",
				"Call 0900 555 0199 now", "{{.Code}}", "{{template \"x\"}}", "\u202Egnp.exe", "\u200B\u2066", "=?utf-8?q?=0D=0AX:_y?=",
				"eve@example.org", "\x00\x1b[31m", "\xff\xfe", "--boundary", "\n.\n", "&lt;b&gt;", "</title>", "${7*7}", "%0d%0aX: y", "-- ",
			}),
		), 0, 6).Draw(t, "parts")
		return strings.Join(parts, rapid.SampledFrom([]string{"", " ", "\n"}).Draw(t, "between"))
	})
}

// clickable matches what mail programs make a link of.
var clickable = regexp.MustCompile(`(?i)://|www\.\S|[\pL\pM][.。．｡]\pL|\S@\S|mailto:|tel:`)

func TestNoChosenTextIsMoreThanAText(t *testing.T) {
	p := newPost(t, Options{})
	tame := regexp.MustCompile(`[\pL\pM\pN.,'’()+_#&\-]+|\?`)
	rapid.Check(t, func(t *rapid.T) {
		m := full(rapid.SampledFrom([]Kind{NewDevice, FactorAdded, IdentityLinked, APIKeyCreated, Impersonated, AccountLocked}).Draw(t, "kind"), ByMail)
		m.Locale = rapid.SampledFrom(languages[:]).Draw(t, "locale")
		calm, err := p.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []*string{&m.Name, &m.Device, &m.Factor, &m.Provider, &m.By, &m.Reason, &m.Machine} {
			if chosen := hostile().Draw(t, "text"); chosen != "" {
				*field = chosen[:min(len(chosen), maxText)]
			}
		}
		r, err := p.Render(m)
		if err != nil {
			t.Fatalf("%v for %+q", err, m.Name)
		}
		for _, text := range []string{m.cleaned().Name, m.cleaned().Device, m.cleaned().Factor, m.cleaned().By, m.cleaned().Reason, m.cleaned().Machine} {
			if clickable.MatchString(text) || utf8.RuneCountInString(text) > reasonRunes {
				t.Errorf("%q stays", text)
			}
			for word := range strings.FieldsSeq(text) {
				if tame.FindString(word) != word {
					t.Errorf("%q stays", word)
				}
			}
		}
		if strings.ContainsAny(m.cleaned().Name, digits) {
			t.Errorf("a name with digits: %q", m.cleaned().Name)
		}
		if r.Subject != calm.Subject {
			t.Errorf("the subject is %q", r.Subject)
		}
		// The tags are those of a message with harmless texts, so none was added, closed or changed. Only
		// the items of the details may be fewer, where nothing was left of a text.
		items := func(tag string) bool {
			return tag == "<li style=\"margin:.2em 0\">" || tag == "</li>" || strings.Contains(tag, "strong>") || strings.Contains(tag, "ul")
		}
		got := slices.DeleteFunc(tags.FindAllString(r.HTML, -1), items)
		want := slices.DeleteFunc(tags.FindAllString(calm.HTML, -1), items)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	})
}

func TestGoodNamesStayAsTheyAre(t *testing.T) {
	for _, name := range []string{"Ada Lovelace", "J. R. R. Tolkien", "Anne-Marie O’Neill", "Łukasz Żak", "山田 太郎", "محمد علي", "नेहा", "Dr. Müller (Graz)"} {
		if got := harmless(name, nameRunes, letterOrDigit); got != name {
			t.Errorf("%q becomes %q", name, got)
		}
	}
	for device, want := range map[string]string{
		"Firefox 128.0 on Windows 11": "Firefox 128.0 on Windows 11", "Ada's iPhone": "Ada's iPhone",
		"evil.example": "evil. example", "a.b.c": "a. b. c", "http://x.de/y": "http x. de y", " \t\n": "",
		strings.Repeat("é", 100): strings.Repeat("é", labelRunes),
	} {
		if got := harmless(device, labelRunes, letterOrDigit); got != want {
			t.Errorf("%q becomes %q, want %q", device, got, want)
		}
	}
}

func TestAMessageComesBackFromItsJSON(t *testing.T) {
	eachMessage(t, func(t *testing.T, m Message, _ shape) {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back Message
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, back); diff != "" {
			t.Errorf("(-sent +read):\n%s", diff)
		}
	})
}

func FuzzRender(f *testing.F) {
	p := newPost(f, Options{Host: "example.com"})
	for _, kind := range Kinds() {
		for _, medium := range shapes[kind].media {
			seed, err := json.Marshal(full(kind, medium))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Message
		if json.Unmarshal(text, &m) != nil {
			return
		}
		r, err := p.Render(m)
		if err != nil {
			return
		}
		if err := r.check(); err != nil || !utf8.ValidString(r.Text) || r.Text == "" {
			t.Errorf("%v for %+q", err, text)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	p := newPost(b, Options{})
	m := full(NewDevice, ByMail)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Render(m); err != nil {
			b.Fatal(err)
		}
	}
}
