package password_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gatehouse/account/password"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type example struct{ Source, Secret, Hash string }

// examples are published hashes; testdata names the source of each.
func examples(t testing.TB) []example {
	t.Helper()
	data, err := os.ReadFile("testdata/hashes.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVerifyAcceptsThePublishedHashesAndAsksToReplaceThem(t *testing.T) {
	h := password.New(password.Options{})
	for _, e := range examples(t) {
		encoded, err := password.Parse(e.Hash)
		if err != nil {
			t.Errorf("%s: parse %s: %v", e.Source, e.Hash, err)
			continue
		}
		ok, rehash, err := h.Verify(t.Context(), encoded, e.Secret)
		if !ok || !rehash || err != nil {
			t.Errorf("%s: %q against %s: ok %v, rehash %v, %v", e.Source, e.Secret, e.Hash, ok, rehash, err)
		}
		ok, rehash, err = h.Verify(t.Context(), encoded, "x"+e.Secret)
		if ok || rehash || err != nil {
			t.Errorf("%s: a wrong secret: ok %v, rehash %v, %v", e.Source, ok, rehash, err)
		}
	}
}

func TestAHashIsOfItsSecretAloneAndNeedsNoRehash(t *testing.T) {
	h := password.New(password.Options{})
	first, err := h.Hash(t.Context(), "correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(first), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash is %s", first)
	}
	second, _ := h.Hash(t.Context(), "correct horse battery staple")
	if first == second {
		t.Error("two hashes of one secret are equal: the salt does not change")
	}
	for secret, want := range map[string]bool{
		"correct horse battery staple": true, "correct horse battery stapl": false, "": false,
		strings.Repeat("x", password.MaxSecretBytes+1): false,
	} {
		ok, rehash, err := h.Verify(t.Context(), first, secret)
		if ok != want || rehash || err != nil {
			t.Errorf("%.40q: ok %v, rehash %v, %v; want ok %v", secret, ok, rehash, err, want)
		}
	}
}

func TestTheSameCharactersAreTheSamePassword(t *testing.T) {
	h := password.New(password.Options{})
	encoded, err := h.Hash(t.Context(), "Cr\u00e8me br\u00fbl\u00e9e") // composed
	if err != nil {
		t.Fatal(err)
	}
	ok, _, err := h.Verify(t.Context(), encoded, "Cre\u0300me bru\u0302le\u0301e") // decomposed
	if !ok || err != nil {
		t.Fatalf("decomposed: %v, %v", ok, err)
	}
}

func TestASecretAboveTheBoundIsNotHashed(t *testing.T) {
	h := password.New(password.Options{})
	long := strings.Repeat("x", password.MaxSecretBytes+1)
	if _, err := h.Hash(t.Context(), long); !errors.Is(err, password.ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
	if err := h.VerifyNothing(t.Context(), long); err != nil {
		t.Errorf("nothing against a long secret: %v", err)
	}
}

func TestParseRefusesWhatIsMalformedOrTooCostly(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	argon := func(parameters string) string { return "$argon2id$v=19$" + parameters + "$" + salt + "$" + key }
	scrypt := func(parameters string) string { return "$scrypt$" + parameters + "$" + salt + "$" + key }
	pbkdf2 := func(parameters string) string { return "$pbkdf2-sha256$" + parameters + "$" + salt + "$" + key }
	django := func(fields string) string { return "pbkdf2_sha256$" + fields + "=" }
	bcrypt := func(cost string) string {
		return "$2b$" + cost + "$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"
	}
	for text, want := range map[string]error{
		argon("m=19456,t=2,p=1"):                                                 nil,
		argon("m=131072,t=4,p=1"):                                                nil,
		argon("m=131073,t=1,p=1"):                                                password.ErrCost,
		argon("m=131072,t=5,p=1"):                                                password.ErrCost,
		argon("m=65536,t=0,p=1"):                                                 password.ErrCost,
		argon("m=65536,t=3,p=0"):                                                 password.ErrCost,
		argon("m=65536,t=3,p=17"):                                                password.ErrCost,
		argon("m=7,t=3,p=1"):                                                     password.ErrCost,
		argon("m=0,t=3,p=1"):                                                     password.ErrCost,
		argon("m=999999999,t=999999999,p=1"):                                     password.ErrCost,
		argon("m=4294967296,t=1,p=1"):                                            password.ErrFormat,
		argon("m=-19456,t=2,p=1"):                                                password.ErrFormat,
		argon("m=019456,t=2,p=1"):                                                password.ErrFormat,
		argon("t=2,m=19456,p=1"):                                                 password.ErrFormat,
		argon("m=19456,t=2"):                                                     password.ErrFormat,
		argon("m=19456,t=2,p=1,keyid=x"):                                         password.ErrFormat,
		argon(""):                                                                password.ErrFormat,
		"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key:                     password.ErrFormat,
		"$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key:                      nil,
		"$argon2i$v=19$m=131073,t=1,p=1$" + salt + "$" + key:                     password.ErrCost,
		"$argon2i$v=16$m=19456,t=2,p=1$" + salt + "$" + key:                      password.ErrFormat,
		"$argon2d$v=19$m=19456,t=2,p=1$" + salt + "$" + key:                      password.ErrFormat,
		argon("m=67108864,t=1,p=1"):                                              password.ErrCost, // 64 GiB
		argon("m=19456,t=1000000000,p=1"):                                        password.ErrFormat,
		argon("m=19456,t=999999999,p=1"):                                         password.ErrCost,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "=$" + key:                    password.ErrFormat,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "\n$" + key:                   password.ErrFormat,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key + "$":               password.ErrFormat,
		"$argon2id$v=19$m=19456,t=2,p=1$$" + key:                                 password.ErrCost,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$":                           password.ErrCost,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key[:21]:                password.ErrFormat,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + strings.Repeat("A", 88): password.ErrCost,
		scrypt("ln=17,r=8,p=1"):                                                  nil,
		scrypt("ln=17,r=8,p=4"):                                                  nil,
		scrypt("ln=17,r=8,p=5"):                                                  password.ErrCost,
		scrypt("ln=18,r=8,p=1"):                                                  password.ErrCost,
		scrypt("ln=63,r=8,p=1"):                                                  password.ErrCost,
		scrypt("ln=0,r=8,p=1"):                                                   password.ErrCost,
		scrypt("ln=14,r=0,p=1"):                                                  password.ErrCost,
		scrypt("ln=14,r=8,p=999"):                                                password.ErrCost,
		scrypt("n=14,r=8,p=1"):                                                   password.ErrFormat,
		pbkdf2("600000"):                                                         nil,
		pbkdf2("i=600000"):                                                       nil,
		pbkdf2("i=600000,l=32"):                                                  nil,
		pbkdf2("i=600000,l=64"):                                                  password.ErrFormat,
		pbkdf2("i=600000,l=32,x=1"):                                              password.ErrFormat,
		pbkdf2("1500001"):                                                        password.ErrCost,
		pbkdf2("0"):                                                              password.ErrCost,
		pbkdf2("1e9"):                                                            password.ErrFormat,
		pbkdf2("999999999"):                                                      password.ErrCost,
		pbkdf2("i=1000000000"):                                                   password.ErrFormat,
		django("1000000$seasalt$" + key):                                         nil,
		django("1500001$seasalt$" + key):                                         password.ErrCost,
		django("1000000000$seasalt$" + key):                                      password.ErrFormat,
		django("0$seasalt$" + key):                                               password.ErrCost,
		django("0100$seasalt$" + key):                                            password.ErrFormat,
		django("i=100$seasalt$" + key):                                           password.ErrFormat,
		django("100$sea$" + key):                                                 password.ErrCost,
		django("100$$" + key):                                                    password.ErrCost,
		django("100$" + strings.Repeat("s", 65) + "$" + key):                     password.ErrCost,
		django("100$seasalt$" + key + "="):                                       password.ErrFormat,
		django("100$seasalt$" + strings.Replace(key, "/", ".", 1) + "."):         password.ErrFormat,
		django("100$seasalt$" + strings.Repeat("A", 22) + "="):                   password.ErrFormat,
		django("100$seasalt$x$" + key):                                           password.ErrFormat,
		django("100$seasalt"):                                                    password.ErrFormat,
		strings.TrimSuffix(django("100$seasalt$"+key), "="):                      password.ErrFormat,
		"$" + django("100$seasalt$"+key):                                         password.ErrFormat,
		"pbkdf2_sha1$100$seasalt$" + key + "=":                                   password.ErrFormat,
		"pbkdf2_sha256":                                                          password.ErrFormat,
		bcrypt("04"):                                                             nil,
		bcrypt("14"):                                                             nil,
		bcrypt("15"):                                                             password.ErrCost,
		bcrypt("31"):                                                             password.ErrCost,
		bcrypt("03"):                                                             password.ErrCost,
		bcrypt("00"):                                                             password.ErrCost,
		bcrypt("-5"):                                                             password.ErrFormat,
		bcrypt("5"):                                                              password.ErrFormat,
		bcrypt("12") + "a":                                                       password.ErrFormat,
		strings.Replace(bcrypt("12"), "A", "!", 1):                               password.ErrFormat,
		strings.Replace(bcrypt("12"), "2b", "2x", 1):                             password.ErrFormat,
		"":                                 password.ErrFormat,
		"$":                                password.ErrFormat,
		"$$$$":                             password.ErrFormat,
		"plain text":                       password.ErrFormat,
		"5f4dcc3b5aa765d61d8327deb882cf99": password.ErrFormat,
		"$1$salt$qJH7.N4xYta3aEG/dfqo/0":   password.ErrFormat,
		argon("m=19456,t=2,p=1") + strings.Repeat("A", 512): password.ErrFormat,
	} {
		if _, err := password.Parse(text); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%.120q: got %v, want %v", text, err, want)
		}
	}
}

func TestAFullLineTurnsCallersAwayAtOnceAndTellsTheWait(t *testing.T) {
	// One slot and 40 ms a hash: the line may hold MaxWait/40 ms.
	synctest.Test(t, func(t *testing.T) {
		h := password.New(password.Options{Slots: 1, MaxWait: 200 * time.Millisecond, Now: func() time.Time { return time.Time{} }})
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			done    int
			refused []time.Duration
		)
		for range 64 {
			wg.Go(func() {
				_, err := h.Hash(t.Context(), "correct horse battery staple")
				mu.Lock()
				defer mu.Unlock()
				var busy *password.BusyError
				switch {
				case err == nil:
					done++
				case errors.As(err, &busy) && errors.Is(err, password.ErrBusy):
					refused = append(refused, busy.Wait)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if done == 0 || len(refused) == 0 || done+len(refused) != 64 {
			t.Fatalf("%d done, %d refused, of 64", done, len(refused))
		}
		for _, wait := range refused {
			if wait < 200*time.Millisecond || wait > 2*time.Second {
				t.Errorf("told to wait %v", wait)
			}
		}
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	h := password.New(password.Options{Slots: 1, Queue: 1, MaxWait: time.Minute})
	results := make(chan error, 32)
	for range cap(results) {
		go func() { results <- h.VerifyNothing(t.Context(), "secret") }()
	}
	refused := 0
	for range cap(results) {
		if err := <-results; errors.Is(err, password.ErrBusy) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused == 0 {
		t.Error("32 callers at once, room for 2, none refused")
	}
}

func TestACallerWhoHasGoneIsNotServed(t *testing.T) {
	h := password.New(password.Options{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Hash(gone, "secret"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := h.Hash(t.Context(), "secret"); err != nil {
		t.Errorf("the next caller: %v", err)
	}
}

func TestPolicyRefusesWhatIsGuessedFirst(t *testing.T) {
	hints := []string{"ada.lovelace@analytical.example", "Ada Lovelace", "Gatehouse"}
	for secret, want := range map[string]password.Reason{
		"":                                password.TooShort,
		"short":                           password.TooShort,
		"1234567":                         password.TooShort,
		"ééééééé":                         password.TooShort,
		"e\u0301e\u0301e\u0301e\u0301":    password.TooShort, // four characters, twelve bytes
		strings.Repeat("long ", 26):       password.TooLong,
		strings.Repeat("x", 2000):         password.TooLong,
		"password":                        password.Common,
		"PassWord":                        password.Common,
		"P@ssw0rd":                        password.Common,
		"p4ssw0rd!":                       password.Common,
		"Password123!":                    password.Common,
		"!!password12345678":              password.Common,
		"dragon1984":                      password.Common,
		"iloveyou":                        password.Common,
		"1l0v3y0u":                        password.Common,
		"passwordpassword":                password.Common,
		"ｐａｓｓｗｏｒｄ":                        password.Common,
		"aaaaaaaa":                        password.Common,
		"aaaaaaaaaaaaaaaaaaaaaaa":         password.Common,
		"abcabcabc":                       password.Common,
		"abcdefgh":                        password.Common,
		"87654321":                        password.Common,
		"abcd1234":                        password.Common,
		"qwertyuiop":                      password.Common,
		"qwer1234":                        password.Common,
		"asdfghjkl;":                      password.Common,
		"1qaz2wsx3edc":                    password.Common,
		"poiuytrewq":                      password.Common,
		"12345678910":                     password.Common,
		"19841231":                        password.Common,
		"31.12.1984":                      password.Common,
		"12-31-1984":                      password.Common,
		"20242024":                        password.Common,
		"lovelace":                        password.Close,
		"Lovelace1815":                    password.Close,
		"l0v3l4c3!!":                      password.Close,
		"ecalevol12":                      password.Close,
		"adalovelace":                     password.Close,
		"ada.lovelace@analytical.example": password.Close,
		"analytical7":                     password.Close,
		"gatehouse2024":                   password.Close,
		"G4tehouse!":                      password.Close,
		"correct horse":                   "",
		"correct horse battery staple":    "",
		"Tr0ub4dor&3":                     "",
		"gatehouse-has-no-mercy":          "",
		"пароль-сложный":                  "",
		"日本語のパスワード":                       "",
		"vK9#mQ2$xR":                      "",
		"83920174":                        "",
		strings.Repeat("日月火水木金土 ", 16): "",
	} {
		got := password.Reason("")
		var weakness *password.Weakness
		if err := password.Check(secret, hints...); errors.As(err, &weakness) {
			got = weakness.Reason
			if !strings.HasSuffix(err.Error(), ".") {
				t.Errorf("no sentence: %q", err)
			}
		}
		if got != want {
			t.Errorf("%.60q: got %q, want %q", secret, got, want)
		}
	}
}

func TestAHintTooShortToCountIsIgnored(t *testing.T) {
	for _, hints := range [][]string{nil, {""}, {"li@x.de"}, {"Li", "…", "@"}} {
		if err := password.Check("eliminating lithium", hints...); err != nil {
			t.Errorf("hints %q: %v", hints, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range examples(f) {
		f.Add(e.Hash)
	}
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, text string) {
		encoded, err := password.Parse(text)
		switch {
		case err == nil:
			if string(encoded) != text || len(text) > 512 {
				t.Fatalf("%q is read as %q", text, encoded)
			}
		case !errors.Is(err, password.ErrFormat) && !errors.Is(err, password.ErrCost):
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add("Password123!", "ada.lovelace@analytical.example")
	f.Add("\xff\xfe日本語", "")
	f.Fuzz(func(t *testing.T, secret, hint string) {
		var weakness *password.Weakness
		if err := password.Check(secret, hint); err != nil && !errors.As(err, &weakness) {
			t.Fatal(err)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	h := password.New(password.Options{})
	for b.Loop() {
		if _, err := h.Hash(b.Context(), "correct horse battery staple"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUnknownAccount sets a wrong password beside an unknown account: the two must cost the same.
func BenchmarkUnknownAccount(b *testing.B) {
	h := password.New(password.Options{})
	encoded, _ := h.Hash(b.Context(), "correct horse battery staple")
	b.Run("wrong password", func(b *testing.B) {
		for b.Loop() {
			_, _, _ = h.Verify(b.Context(), encoded, "wrong")
		}
	})
	b.Run("unknown account", func(b *testing.B) {
		for b.Loop() {
			_ = h.VerifyNothing(b.Context(), "wrong")
		}
	})
}

// BenchmarkParallelLogins reports throughput and the memory that the process took from the system.
func BenchmarkParallelLogins(b *testing.B) {
	for _, callers := range []int{4, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			h := password.New(password.Options{MaxWait: time.Hour})
			encoded, _ := h.Hash(b.Context(), "correct horse battery staple")
			b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if ok, _, err := h.Verify(b.Context(), encoded, "correct horse battery staple"); !ok {
						b.Error(err)
					}
				}
			})
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			b.ReportMetric(float64(memory.Sys)/(1<<20), "MiB-from-system")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for b.Loop() {
		_ = password.Check("gatehouse-has-no-mercy", "ada.lovelace@analytical.example", "Ada Lovelace", "Gatehouse")
	}
}
