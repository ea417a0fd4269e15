package account_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/account/totp"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
	"gatehouse/test/services"
)

// later is a house whose accounts offer second factors and live by the test's clock.
type later struct {
	*house
	ahead atomic.Int64 // nanoseconds
	by    viewer.Viewer
}

func (l *later) now() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }

// eachFactorHouse gives Ada, who has just signed in.
func eachFactorHouse(t *testing.T, test func(t *testing.T, l *later)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{"SQLite": sqlite, "PostgreSQL": services.Postgres} {
		t.Run(name, func(t *testing.T) {
			l := &later{house: newHouse(t, address(t))}
			var err error
			l.accounts, err = account.New(l.parts, account.Options{
				Now: l.now, MFA: account.MFA{Methods: []account.Method{account.TOTP, account.SMS, account.Email}},
			})
			must(t, err)
			t.Cleanup(l.accounts.Close)
			l.by, _ = l.login(l.ada())
			test(t, l)
		})
	}
}

// self is Ada, as one of many.
func (l *later) self() []viewer.UserID { return []viewer.UserID{l.by.User} }

// fresh is Ada as she has just proved both factors.
func (l *later) fresh() viewer.Viewer {
	by := l.by
	by.Level, by.AuthTime = viewer.AAL2, l.now()
	return by
}

func (l *later) app() (account.FactorID, totp.Key) {
	l.Helper()
	begun, err := l.accounts.EnrollTOTP(l.Context(), l.fresh(), "")
	must(l, err)
	key, err := totp.Parse(begun.Secret)
	must(l, err)
	return begun.Factor, key
}

func (l *later) confirm(p account.Proven, err error) []string {
	l.Helper()
	must(l, err)
	var codes []string
	must(l, l.db.Update(l.Context(), func(tx *store.Tx) (err error) {
		_, codes, err = l.accounts.ConfirmTx(l.Context(), tx, l.by, p)
		return err
	}))
	return codes
}

func codeOf(key totp.Key, at time.Time) string { return key.Code(totp.StepAt(at)) }

func wants(t testing.TB, what string, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func TestAnAppCountsOnceItsFirstCodeWasSeenInTime(t *testing.T) {
	eachFactorHouse(t, func(t *testing.T, l *later) {
		id, key := l.app()
		if factors, err := l.accounts.Factors(t.Context(), l.by, l.self()); err != nil || len(factors[l.by.User]) != 0 {
			t.Errorf("before the first code: %v, %v", factors, err)
		}
		_, err := l.accounts.ProveTOTP(t.Context(), l.by, id, "000000x")
		wants(t, "a wrong code", err, fault.InvalidCode)
		_, err = l.accounts.ProveTOTP(t.Context(), viewer.Viewer{User: "usr_eve"}, id, key.Code(totp.StepAt(l.now())))
		wants(t, "another's code", err, fault.NotFound)
		second, _ := l.app()
		_, err = l.accounts.ProveTOTP(t.Context(), l.by, id, key.Code(totp.StepAt(l.now())))
		wants(t, "one that a later enrolment has replaced", err, fault.NotFound)
		l.ahead.Add(int64(16 * time.Minute))
		_, err = l.accounts.ProveTOTP(t.Context(), l.by, second, "000000")
		wants(t, "a quarter of an hour later", err, fault.NotFound)
	})
}

func TestAnAccountHasThreeAppsAndOneSetOfRecoveryCodes(t *testing.T) {
	eachFactorHouse(t, func(t *testing.T, l *later) {
		var codes []string
		for i := range 3 {
			id, key := l.app()
			proven, err := l.accounts.ProveTOTP(t.Context(), l.by, id, key.Code(totp.StepAt(l.now())))
			must(t, err)
			switch given := l.confirm(proven, nil); {
			case i == 0:
				codes = given
			case given != nil:
				t.Errorf("app %d brought codes once more", i)
			}
		}
		_, err := l.accounts.EnrollTOTP(t.Context(), l.fresh(), "")
		wants(t, "a fourth app", err, fault.WrongState)
		fresh, err := l.accounts.RegenerateRecoveryCodes(t.Context(), l.fresh())
		must(t, err)
		use := func(code string) error {
			return l.db.Update(t.Context(), func(tx *store.Tx) error {
				user, err := l.accounts.LockTx(t.Context(), tx, l.by.User)
				must(t, err)
				return l.accounts.UseRecoveryCodeTx(t.Context(), tx, user, code)
			})
		}
		wants(t, "a code of before", use(codes[0]), fault.InvalidCode)
		must(t, use(fresh[0]))
		wants(t, "a code once more", use(fresh[0]), fault.InvalidCode)
		factors, err := l.accounts.Factors(t.Context(), l.by, l.self())
		must(t, err)
		for _, f := range factors[l.by.User] {
			must(t, l.accounts.RemoveFactor(t.Context(), l.fresh(), f.ID))
		}
		if left, err := l.accounts.RecoveryCodesLeft(t.Context(), l.by, l.self()); err != nil || left[l.by.User] != 0 {
			t.Errorf("after the last factor %v codes are left, %v", left, err)
		}
		_, err = l.accounts.RegenerateRecoveryCodes(t.Context(), l.fresh())
		wants(t, "codes without a factor", err, fault.WrongState)
	})
}

func TestAPhoneIsConfirmedWithinFiveTriesAndTenMinutes(t *testing.T) {
	eachFactorHouse(t, func(t *testing.T, l *later) {
		l.box.Run(t)
		const number = "+491701234567"
		enroll := func() (account.FactorID, string) {
			id, err := l.accounts.EnrollPhone(t.Context(), l.fresh(), number, "", session.Origin{})
			must(t, err)
			return id, l.box.Take(t, notify.PhoneConfirm, number).Code
		}
		id, code := enroll()
		for range 5 {
			_, err := l.accounts.ProvePhone(t.Context(), l.by, id, "12345")
			wants(t, "a wrong code", err, fault.InvalidCode)
		}
		_, err := l.accounts.ProvePhone(t.Context(), l.by, id, code)
		wants(t, "the right code after five wrong ones", err, fault.InvalidCode)
		id, code = enroll()
		l.ahead.Add(int64(10 * time.Minute))
		_, err = l.accounts.ProvePhone(t.Context(), l.by, id, code)
		wants(t, "the right code after ten minutes", err, fault.InvalidCode)
		id, code = enroll()
		proven, err := l.accounts.ProvePhone(t.Context(), l.by, id, code[:3]+" "+code[3:])
		if codes := l.confirm(proven, err); len(codes) != 10 {
			t.Errorf("recovery codes: %v", codes)
		}
		if sealed, err := store.All(t.Context(), l.db, store.SQL(`SELECT sealed FROM factors`), store.Value[[]byte]); err != nil || slices.ContainsFunc(sealed, func(b []byte) bool { return string(b) == number }) {
			t.Errorf("the number stands in clear, %v", err)
		}
	})
}

func TestPhoneNumbersAreTakenInTheirInternationalForm(t *testing.T) {
	eachFactorHouse(t, func(t *testing.T, l *later) {
		for _, number := range []string{"", "0170 1234567", "+0170123", "+49 170 12a4567", "+1234", "+1234567890123456", "+49\n1701234567"} {
			_, err := l.accounts.EnrollPhone(t.Context(), l.fresh(), number, "", session.Origin{})
			wants(t, fmt.Sprintf("%q", number), err, fault.Invalid)
			l.ahead.Add(int64(time.Minute))
		}
	})
}

func TestCodesThatConfirmAPhoneAreCountedForWhereTheyAreAskedFor(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.open(account.Options{MFA: account.MFA{Methods: []account.Method{account.SMS}}})
	sent := 0
	ask := func(ip string) error { // each for another account and number
		user, err := h.register(account.Registration{Email: fmt.Sprintf("p%d@example.com", sent), Password: adasPassword})
		must(t, err)
		by, _ := h.login(user)
		by.AuthTime = time.Now()
		_, err = h.accounts.EnrollPhone(t.Context(), by, fmt.Sprintf("+4917012345%02d", sent), "", session.Origin{IP: netip.MustParseAddr(ip)})
		sent++
		return err
	}
	for range 10 {
		must(t, ask("192.0.2.7"))
	}
	wants(t, "an eleventh from one address", ask("192.0.2.7"), fault.RateLimited)
	for _, ip := range []string{"192.0.2.8", "192.0.2.9"} {
		for range 10 {
			must(t, ask(ip))
		}
	}
	wants(t, "a thirty-first from one network", ask("192.0.2.10"), fault.RateLimited)
	must(t, ask("198.51.100.7"))
}

func TestADeviceIsTrustedForThirtyDaysForItsOwnerAlone(t *testing.T) {
	eachFactorHouse(t, func(t *testing.T, l *later) {
		var secret string
		trust := func() {
			must(t, l.db.Update(t.Context(), func(tx *store.Tx) (err error) {
				secret, _, err = l.accounts.TrustTx(t.Context(), tx, l.by.User, session.Device{Name: "Laptop" + strings.Repeat(" of Ada", 1000)}, session.Origin{Agent: "Agent/1" + strings.Repeat("\x00x", 1000)})
				return err
			}))
		}
		trusts := func(user viewer.UserID, secret string) (ok bool) {
			must(t, l.db.Update(t.Context(), func(tx *store.Tx) (err error) {
				ok, err = l.accounts.TrustsTx(t.Context(), tx, user, secret)
				return err
			}))
			return ok
		}
		for range 22 {
			trust()
		}
		all, err := l.accounts.TrustedDevices(t.Context(), l.by, l.self())
		devices := all[l.by.User]
		if must(t, err); len(devices) != 20 {
			t.Errorf("%d devices are trusted, want 20", len(devices))
		}
		if d := devices[0]; len(d.Name) != 100 || len(d.Agent) != 200 || !strings.HasPrefix(d.Name, "Laptop of") || !strings.HasPrefix(d.Agent, "Agent/1x") {
			t.Errorf("of a long name %q is kept, of a long agent %q", d.Name, d.Agent)
		}
		if !trusts(l.by.User, secret) || trusts("usr_eve", secret) || trusts(l.by.User, "ghd_wrong") || trusts(l.by.User, "") {
			t.Error("the token does not do what it should")
		}
		wants(t, "another's device", l.accounts.RevokeTrustedDevice(t.Context(), viewer.Viewer{User: "usr_eve"}, devices[0].ID), fault.NotFound)
		l.ahead.Add(int64(account.TrustLife))
		if trusts(l.by.User, secret) {
			t.Error("the device is trusted after thirty days")
		}
		must(t, l.accounts.PruneFactors(t.Context()))
		n, err := store.One(t.Context(), l.db, store.SQL(`SELECT count(*) FROM trusted_devices`), store.Value[int])
		if must(t, err); n != 0 {
			t.Errorf("%d expired devices are left", n)
		}
	})
}
