package account_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// importer is an administrator's import of the job n.
func (h *house) importer(roles ...viewer.Role) account.Import {
	h.Helper()
	admin, err := h.accounts.CreateAdmin(h.Context(), "root@example.com", "a long enough secret 7", "", true)
	must(h, err)
	return account.Import{Job: store.NewID[queue.ID]("job"), By: admin.ID, Roles: roles}
}

func (h *house) take(i account.Import, rows ...account.ImportRow) []string {
	h.Helper()
	for n := range rows {
		if rows[n].Line == 0 {
			rows[n].Line = int64(n + 2)
		}
	}
	refused, err := h.accounts.Import(h.Context(), i, rows)
	must(h, err)
	codes := make([]string, len(refused))
	for n, why := range refused {
		if why != nil {
			codes[n] = string(why.Code) + " " + strings.Join(why.Field, ".")
		}
	}
	return codes
}

func TestAnImportedAccountIsWhatItsRowSays(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		secret := "correct horse battery staple"
		hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost+1)
		must(t, err)
		i := h.importer(viewer.Developer)
		codes := h.take(i,
			account.ImportRow{
				Email: "Grace@Example.com", Name: "Grace Hopper", PasswordHash: string(hash), Roles: "user developer", Locale: "de-AT",
				Verified: "true", CreatedAt: "2020-02-29",
			},
			account.ImportRow{Email: "alan@example.com"})
		if !slices.Equal(codes, []string{"", ""}) {
			t.Fatalf("refused: %q", codes)
		}
		grace, err := h.accounts.ByPassword(t.Context(), "grace@example.com", secret)
		must(t, err)
		want := time.Date(2020, 2, 29, 0, 0, 0, 0, time.UTC)
		if grace.Email != "Grace@Example.com" || grace.Name != "Grace Hopper" || grace.Locale != "de-AT" || !grace.Verified ||
			!grace.CreatedAt.Equal(want) || !slices.Equal(grace.Roles, []viewer.Role{viewer.User, viewer.Developer}) {
			t.Errorf("Grace is %+v", grace)
		}
		kept := store.SQL(`SELECT password_hash FROM users WHERE id = ?`)
		if now, err := store.One(t.Context(), h.db, kept, store.Value[string], grace.ID); err != nil || !strings.HasPrefix(now, "$argon2id$") {
			t.Errorf("after the first sign-in the hash is %.10s…, %v", now, err)
		}
		alan, err := h.accounts.ByEmail(t.Context(), "alan@example.com")
		if err != nil || alan.Verified || len(alan.Roles) != 1 || alan.Locale != "en" {
			t.Errorf("Alan is %+v, %v", alan, err)
		}
		if has, err := h.accounts.HasPassword(t.Context(), h.db, alan.ID); has || err != nil {
			t.Errorf("Alan has a password: %t, %v", has, err)
		}
		if got := h.actions(grace.ID); !slices.Equal(got, []audit.Action{audit.AccountImported}) {
			t.Errorf("recorded at Grace: %v", got)
		}
		if kinds := h.box.Arrived(); len(kinds) != 0 {
			t.Errorf("mails were sent: %v", kinds)
		}
	})
}

func TestARowThatCannotBeAnAccountIsRefusedAloneAndSaysWhy(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.ada()
	i := h.importer(viewer.Developer)
	for name, row := range map[string]struct {
		row  account.ImportRow
		want string
	}{
		"no address":                      {account.ImportRow{}, "REQUIRED email"},
		"no address at all":               {account.ImportRow{Email: "grace"}, "INVALID email"},
		"an address that is there":        {account.ImportRow{Email: "ADA@example.com", Name: "Eve"}, "TAKEN email"},
		"a long name":                     {account.ImportRow{Email: "g@example.com", Name: strings.Repeat("x", 201)}, "TOO_LONG name"},
		"a locale of no form":             {account.ImportRow{Email: "g@example.com", Locale: "d e"}, "INVALID locale"},
		"a password in clear":             {account.ImportRow{Email: "g@example.com", PasswordHash: "hunter2hunter2"}, "INVALID password_hash"},
		"a hash that stops the server":    {account.ImportRow{Email: "g@example.com", PasswordHash: "$argon2id$v=19$m=4194304,t=9,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"}, "INVALID password_hash"},
		"a role that was not allowed":     {account.ImportRow{Email: "g@example.com", Roles: "ADMIN", Verified: "true"}, "FORBIDDEN roles"},
		"a role of none":                  {account.ImportRow{Email: "g@example.com", Roles: "ROOT", Verified: "true"}, "INVALID roles"},
		"a role for an unproved address":  {account.ImportRow{Email: "g@example.com", Roles: "DEVELOPER"}, "INVALID roles"},
		"no truth":                        {account.ImportRow{Email: "g@example.com", Verified: "perhaps"}, "INVALID verified"},
		"a moment to come":                {account.ImportRow{Email: "g@example.com", CreatedAt: "2999-01-01"}, "INVALID created_at"},
		"a moment before all":             {account.ImportRow{Email: "g@example.com", CreatedAt: "1969-12-31T00:00:00Z"}, "INVALID created_at"},
		"a day of another form":           {account.ImportRow{Email: "g@example.com", CreatedAt: "01/02/2020"}, "INVALID created_at"},
		"a letter that looks like ASCII":  {account.ImportRow{Email: "mi\u212ae@example.com"}, "INVALID email"},
		"a header in place of an address": {account.ImportRow{Email: "g@example.com\r\nBcc: e@example.com"}, "INVALID email"},
	} {
		t.Run(name, func(t *testing.T) {
			i.Job = store.NewID[queue.ID]("job")
			good := account.ImportRow{Email: strings.ToLower(strings.ReplaceAll(name, " ", "-")) + "@example.com"}
			if got := h.take(i, row.row, good); !slices.Equal(got, []string{row.want, ""}) {
				t.Errorf("got %q, want %q and nothing", got, row.want)
			}
		})
	}
	if ada, err := h.accounts.ByEmail(t.Context(), adasEmail); err != nil || ada.Name != "Ada Lovelace" {
		t.Errorf("Ada was changed: %+v, %v", ada, err)
	}
}

func TestRowsThatComeAgainAreTheAccountsOfTheirJob(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		i := h.importer()
		rows := func(n int) (all []account.ImportRow) {
			for line := range n {
				all = append(all, account.ImportRow{Email: fmt.Sprintf("p%d@example.com", line), Line: int64(line + 2)})
			}
			return append(all, account.ImportRow{Email: "P0@example.com", Line: int64(n + 2)}) // the first once more
		}
		first := h.take(i, rows(3)...)
		if !slices.Equal(first, []string{"", "", "", "TAKEN email"}) {
			t.Fatalf("at first: %q", first)
		}
		before, err := h.accounts.ByEmail(t.Context(), "p1@example.com")
		must(t, err)
		if again := h.take(i, rows(3)...); !slices.Equal(again, first) {
			t.Errorf("when they come again: %q, want %q", again, first)
		}
		after, err := h.accounts.ByEmail(t.Context(), "p1@example.com")
		if err != nil || after.ID != before.ID || len(h.actions(after.ID)) != 1 {
			t.Errorf("account %s became %s, %v", before.ID, after.ID, err)
		}
		other := i
		other.Job = store.NewID[queue.ID]("job")
		if got := h.take(other, rows(3)...); !slices.Equal(got, []string{"TAKEN email", "TAKEN email", "TAKEN email", "TAKEN email"}) {
			t.Errorf("for another job: %q", got)
		}
	})
}

func TestTwoImportsOfTheSameAddressesAtOnceMakeEachOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.importer()
		second := first
		second.Job = store.NewID[queue.ID]("job")
		var rows, backwards []account.ImportRow
		for line := range account.MaxImport {
			rows = append(rows, account.ImportRow{Email: fmt.Sprintf("p%d@example.com", line), Line: int64(line + 2)})
		}
		backwards = slices.Clone(rows)
		slices.Reverse(backwards)
		var (
			both sync.WaitGroup
			made [2]int
		)
		for n, job := range []account.Import{first, second} {
			both.Go(func() {
				refused, err := h.accounts.Import(t.Context(), job, [][]account.ImportRow{rows, backwards}[n])
				if err != nil {
					t.Error(err)
				}
				for _, why := range refused {
					if why == nil {
						made[n]++
					} else if why.Code != fault.Taken {
						t.Errorf("refused: %v", why)
					}
				}
			})
		}
		both.Wait()
		if made[0]+made[1] != account.MaxImport {
			t.Errorf("made %v of %d", made, account.MaxImport)
		}
	})
}

func TestAnAddressThatIsKeptForItsLastOwnerIsNotImported(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		_, by, _ := h.settledAda()
		h.move(by, adasEmail, "countess@example.com")
		if got := h.take(h.importer(), account.ImportRow{Email: adasEmail}); got[0] != "TAKEN email" {
			t.Errorf("the address that was left: %q", got)
		}
	})
}

func TestWhoIsNoAdministratorAnyMoreImportsNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		i := h.importer()
		ada := h.ada()
		for name, by := range map[string]viewer.UserID{"a user": ada.ID, "who is gone": "usr_gone", "nobody": ""} {
			other := i
			other.By = by
			_, err := h.accounts.Import(t.Context(), other, []account.ImportRow{{Email: "grace@example.com", Line: 2}})
			refuse(t, name, err, fault.Forbidden, "")
		}
		for name, by := range map[string]viewer.Viewer{
			"a user": {User: ada.ID}, "an administrator's key": {User: i.By, Machine: "key_1", Roles: []viewer.Role{viewer.Admin}, Scopes: viewer.Granted([]viewer.Role{viewer.Admin})},
		} {
			refuse(t, name, h.accounts.MayImport(t.Context(), by, nil), fault.Forbidden, "")
		}
		admin := viewer.Viewer{User: i.By, Roles: []viewer.Role{viewer.Admin}}
		refuse(t, "a role of none", h.accounts.MayImport(t.Context(), admin, []viewer.Role{"ROOT"}), fault.Invalid, "allowRoles")
		must(t, h.accounts.MayImport(t.Context(), admin, []viewer.Role{viewer.Admin}))
	})
}
