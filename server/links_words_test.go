package main

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/account"
	"gatehouse/internal/fault"
)

func TestEveryLanguageOfThePagesOfLinksHasTheSameBlocks(t *testing.T) {
	words, err := readLinkWords()
	if err != nil {
		t.Fatal(err)
	}
	named := func(i int) (names []string) {
		for _, block := range words.blocks[i].Templates() {
			if !strings.HasPrefix(block.Name(), "links.") { // the file itself
				names = append(names, block.Name())
			}
		}
		slices.Sort(names)
		return names
	}
	want := named(0)
	for i, tag := range linkLanguages {
		if got := named(i); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", tag, got, want)
		}
		for _, name := range want {
			if said, err := (linkLanguage{tag, words.blocks[i]}).say("", name); err != nil || said == "" {
				t.Errorf("%s says %q for %s: %v", tag, said, name, err)
			}
		}
	}
}

func TestEveryPurposeHasAPageAndEveryRefusalItsWords(t *testing.T) {
	words, err := readLinkWords()
	if err != nil {
		t.Fatal(err)
	}
	english := words.in("en")
	for _, purpose := range []account.Purpose{
		account.ToVerifyEmail, account.ToResetPassword, account.ToChangeEmail, account.ToUndoEmail,
		account.ToDisown, account.ToLogIn, account.ToKeepAccount, account.ToFetchExport,
	} {
		for _, part := range []string{"title", "says", "button", "done"} {
			if english.blocks.Lookup(string(purpose)+"."+part) == nil && (purpose != account.ToFetchExport || part != "done") {
				t.Errorf("%s has no %s", purpose, part)
			}
		}
	}
	for _, name := range []string{
		string(elsewhere), string(unfinished), string(absent), "refused", "title", "password",
		string(fault.TokenInvalid), string(fault.TokenExpired), string(fault.TooShort), string(fault.TooLong),
		string(fault.WeakPassword), string(fault.AccountDisabled), string(fault.Taken), string(fault.WrongState),
		string(fault.RateLimited), string(fault.Unavailable), string(fault.Forbidden), string(fault.Internal),
	} {
		if english.find("", name) == nil {
			t.Errorf("nothing is said for %s", name)
		}
	}
	for _, purpose := range []account.Purpose{"", "nothing", "title", "links.en", "verify-email.says"} {
		if english.knows(purpose) {
			t.Errorf("%q has a page", purpose)
		}
	}
}

func TestThePageOfALinkSpeaksTheFirstLanguageThatFits(t *testing.T) {
	words, err := readLinkWords()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what, account, browser, want string
	}{
		{"nothing is known", "", "", "en"},
		{"the account's language", "de", "es", "de"},
		{"a country of it", "de-CH", "es", "de"},
		{"a language that nobody has translated, and one that somebody has", "fr", "es-MX,es;q=0.9", "es"},
		{"the browser's", "", "es-AR,es;q=0.9,en;q=0.8", "es"},
		{"what the browser would rather have", "", "fr, en;q=0.4, de;q=0.7", "de"},
		{"no language at all", "", "*", "en"},
		{"what no language fits", "ja", "zh-CN,zh;q=0.9", "en"},
		{"rubbish", "--", "q=;;,\x00", "en"},
		{"more than is read", "", strings.Repeat("x-", 5000) + "de", "en"},
	} {
		if got := words.in(row.account, row.browser).Tag; got != row.want {
			t.Errorf("%s: got %s, want %s", row.what, got, row.want)
		}
	}
}
