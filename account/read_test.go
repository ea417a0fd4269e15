package account_test

import (
	"context"
	"testing"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// callers are those who may ask about Ada's things, and whether they see them.
func callers(ada viewer.UserID) map[string]struct {
	by   viewer.Viewer
	sees bool
} {
	type row = struct {
		by   viewer.Viewer
		sees bool
	}
	admin := []viewer.Role{viewer.Admin}
	return map[string]row{
		"the owner":                     {viewer.Viewer{User: ada}, true},
		"another":                       {viewer.Viewer{User: "usr_eve"}, false},
		"an administrator":              {viewer.Viewer{User: "usr_eve", Roles: admin}, true},
		"the server":                    {viewer.System(), true},
		"a key that reads the account":  {viewer.Viewer{User: ada, Machine: "key_1", Scopes: []viewer.Scope{viewer.ReadAccount}}, true},
		"a key that runs jobs":          {viewer.Viewer{User: ada, Machine: "key_1", Scopes: []viewer.Scope{viewer.RunJobs}}, false},
		"an administrator's key":        {viewer.Viewer{User: "usr_eve", Roles: admin, Machine: "key_2", Scopes: []viewer.Scope{viewer.ReadUsers}}, true},
		"an administrator's poor key":   {viewer.Viewer{User: "usr_eve", Roles: admin, Machine: "key_2", Scopes: []viewer.Scope{viewer.ReadAccount}}, false},
		"one who acts as her":           {viewer.Viewer{User: ada, Actor: "usr_eve", Scopes: viewer.Impersonating()}, true},
		"one who acts as somebody else": {viewer.Viewer{User: "usr_bob", Actor: ada, Roles: admin, Scopes: viewer.Impersonating()}, false},
	}
}

// has reports whether a batch read for ada and somebody else brought ada, and fails when it brought what by
// may not see.
func has[K comparable, V any](t *testing.T, found map[K]V, err error, ada K) bool {
	t.Helper()
	must(t, err)
	_, seen := found[ada]
	return seen
}

func TestWhatHangsOnAnAccountIsReadByWhoMaySeeItAndInEachBatchForItselfAlone(t *testing.T) {
	eachFactorHouse(t, func(t *testing.T, l *later) {
		ctx, ada := t.Context(), l.by.User
		id, key := l.app()
		l.confirm(l.accounts.ProveTOTP(ctx, l.by, id, codeOf(key, l.now())))
		must(t, l.db.Update(ctx, func(tx *store.Tx) error {
			_, _, err := l.accounts.TrustTx(ctx, tx, ada, session.Device{Name: "Laptop"}, session.Origin{})
			return err
		}))
		devices, err := l.accounts.TrustedDevices(ctx, l.by, l.self())
		must(t, err)
		device := devices[ada][0].ID
		both := []viewer.UserID{"usr_bob", ada}
		for name, c := range callers(ada) {
			reads := map[string]func(context.Context) bool{
				"factors": func(ctx context.Context) bool {
					found, err := l.accounts.Factors(ctx, c.by, both)
					return has(t, found, err, ada) && len(found[ada]) == 1
				},
				"recovery codes": func(ctx context.Context) bool {
					found, err := l.accounts.RecoveryCodesLeft(ctx, c.by, both)
					return has(t, found, err, ada) && found[ada] == 10
				},
				"devices": func(ctx context.Context) bool {
					found, err := l.accounts.TrustedDevices(ctx, c.by, both)
					return has(t, found, err, ada) && len(found[ada]) == 1
				},
				"identities": func(ctx context.Context) bool {
					found, err := l.accounts.Identities(ctx, c.by, both)
					return has(t, found, err, ada)
				},
				"the account": func(ctx context.Context) bool {
					found, err := l.accounts.SeenByIDs(ctx, c.by, both)
					return has(t, found, err, ada)
				},
				"a factor": func(ctx context.Context) bool {
					found, err := l.accounts.FactorsByIDs(ctx, c.by, []account.FactorID{"fac_none", id})
					return has(t, found, err, id)
				},
				"a device": func(ctx context.Context) bool {
					found, err := l.accounts.TrustedDevicesByIDs(ctx, c.by, []account.TrustedDeviceID{"tdv_none", device})
					return has(t, found, err, device)
				},
			}
			for what, read := range reads {
				if got := read(ctx); got != c.sees {
					t.Errorf("%s sees %s: %t, want %t", name, what, got, c.sees)
				}
			}
		}
		_, err = l.accounts.Factors(ctx, viewer.Viewer{}, both)
		wants(t, "nobody", err, fault.Unauthenticated)
		_, err = l.accounts.FactorsByIDs(ctx, viewer.Viewer{Suspended: "ses_1"}, []account.FactorID{id})
		wants(t, "who is suspended", err, fault.StepUpRequired)
	})
}
