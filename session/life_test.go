package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// lives is a person's sessions, an administrator who acts as the person, and a thief with copies of all
// access tokens, beside what should come of them.
type lives struct {
	*house
	user, admin viewer.UserID
	all         []*life
	active      bool // the account is
	admitted    int
}

// life is one session as it should be.
type life struct {
	id        viewer.SessionID
	home      Origin
	issued    []Tokens // all access tokens there ever were
	latest    Tokens   // with the refresh token that is good, if any
	spent     []Tokens // whose refresh tokens were used, oldest first
	void      []Tokens // from before the session was lifted
	level     viewer.Level
	version   int64
	actor     viewer.UserID
	readOnly  bool
	suspended bool
	ended     bool
}

// String tells of s without its tokens.
func (s *life) String() string {
	return fmt.Sprintf("session %s of %d tokens, %s, version %d, actor %q, suspended %t, ended %t", s.id, len(s.issued), s.level, s.version, s.actor, s.suspended, s.ended)
}

// opens is what showing an access token from a place should give: "" when it lets one in.
func (l *lives) opens(s *life, held Tokens, from Origin) fault.Code {
	switch {
	case !l.clock.now().Before(held.AccessExpiresAt.Add(token.DefaultLeeway)):
		return fault.Unauthenticated
	case !l.active, s.ended, held.Session.Version < s.version:
		return fault.Unauthenticated
	case s.suspended, from.Agent != s.home.Agent:
		return fault.StepUpRequired
	}
	return ""
}

// show asks for something with an access token and holds the answer against what should come.
func (l *lives) show(t *rapid.T, s *life, held Tokens, from Origin) {
	want := l.opens(s, held, from)
	who, _, err := l.sessions.Admit(l.Context(), held.Access, from)
	if want != "" {
		s.suspended = s.suspended || want == fault.StepUpRequired
		if !fault.Is(err, want) || who.User != "" || who.Session != "" {
			t.Fatalf("%v: %+v, %v, want %s", s, who, err, want)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	l.admitted++
	if who.User != l.user || who.Session != s.id || who.Actor != s.actor || who.ReadOnly != s.readOnly || who.Level != s.level {
		t.Fatalf("%v is %+v", s, who)
	}
	if s.actor != "" && (who.Has(viewer.Admin) || who.Level > viewer.AAL1 || who.InPerson() == nil) {
		t.Fatalf("who acts as another is %+v", who)
	}
}

// renew shows a refresh token from a place.
func (l *lives) renew(t *rapid.T, s *life, held Tokens, from Origin) {
	next, err := l.sessions.Refresh(l.Context(), held.Refresh, from)
	fresh := held.Refresh == s.latest.Refresh
	parent := len(s.spent) > 0 && held.Refresh == s.spent[len(s.spent)-1].Refresh // whose grace is another test's
	switch {
	case parent:
		t.Fatal("the parent was shown")
	case slices.ContainsFunc(s.void, func(old Tokens) bool { return old.Refresh == held.Refresh }):
		l.want(t, s, err, fault.TokenInvalid)
	case s.ended:
		l.want(t, s, err, fault.SessionRevoked)
	case !l.active:
		l.want(t, s, err, fault.AccountDisabled)
	case !l.clock.now().Before(s.latest.Session.ExpiresAt):
		l.want(t, s, err, fault.TokenExpired)
	case s.suspended:
		l.want(t, s, err, fault.StepUpRequired)
	case !fresh:
		l.want(t, s, err, fault.TokenReused)
		s.ended = true
	case from.Agent != s.home.Agent:
		l.want(t, s, err, fault.StepUpRequired)
		s.suspended = true
	default:
		l.want(t, s, err, "")
		s.spent = append(s.spent, s.latest)
		s.take(next)
	}
}

func (l *lives) want(t *rapid.T, s *life, err error, code fault.Code) {
	if code == "" && err == nil || code != "" && fault.Is(err, code) {
		return
	}
	t.Fatalf("%v: %v, want %q", s, err, code)
}

func (s *life) take(next Tokens) {
	s.issued, s.version = append(s.issued, next), next.Session.Version
	if next.Refresh != "" {
		s.latest = next
	}
}

func (l *lives) update(t *rapid.T, fn func(tx *store.Tx) error) {
	if err := l.db.Update(l.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (l *lives) pick(t *rapid.T) *life {
	if len(l.all) == 0 {
		t.Skip("no session yet")
	}
	return rapid.SampledFrom(l.all).Draw(t, "session")
}

func (l *lives) anywhere(t *rapid.T) Origin {
	return at(rapid.SampledFrom([]string{firefox, chrome}).Draw(t, "agent"), "")
}

// endAll is what ends for every session but one.
func (l *lives) endAll(but viewer.SessionID) {
	for _, s := range l.all {
		s.ended = s.ended || s.id != but
	}
}

func (l *lives) begin(t *rapid.T) {
	if !l.active {
		t.Skip("nobody signs in to a disabled account")
	}
	from, level := l.anywhere(t), rapid.SampledFrom([]viewer.Level{viewer.AAL1, viewer.AAL2}).Draw(t, "level")
	begun := &life{home: from, level: level}
	l.update(t, func(tx *store.Tx) error {
		tokens, err := l.sessions.StartTx(l.Context(), tx, Start{User: l.user, Level: level, Methods: []string{"pwd"}, Remember: true, Origin: from})
		begun.id, begun.issued, begun.latest, begun.version = tokens.Session.ID, []Tokens{tokens}, tokens, 1
		return err
	})
	for _, s := range l.all { // a suspended session of the same machine gives way
		s.ended = s.ended || s.suspended && s.home.Agent == from.Agent
	}
	l.all = append(l.all, begun)
}

func (l *lives) impersonate(t *rapid.T) {
	from, readOnly := l.anywhere(t), rapid.Bool().Draw(t, "only reads")
	begun := &life{home: from, level: viewer.AAL1, actor: l.admin, readOnly: readOnly}
	l.update(t, func(tx *store.Tx) error {
		tokens, err := l.sessions.ImpersonateTx(l.Context(), tx, viewer.Viewer{User: l.admin, Roles: []viewer.Role{viewer.Admin}}, l.user, readOnly, from)
		if tokens.Refresh != "" {
			t.Fatal("an impersonation can be renewed")
		}
		begun.id, begun.issued, begun.version = tokens.Session.ID, []Tokens{tokens}, 1
		return err
	})
	l.all = append(l.all, begun)
}

// lift is what a person does who proves who they are at a suspended session.
func (l *lives) lift(t *rapid.T) {
	s, from := l.pick(t), l.anywhere(t)
	if s.actor == "" && !l.clock.now().Before(s.latest.Session.ExpiresAt) || !l.active {
		t.Skip("nobody is asked for proof any more")
	}
	next, err := l.house.lift(s.id, from)
	if may := s.suspended && !s.ended && s.actor == ""; may != (err == nil) {
		t.Fatalf("%v: lifted %v", s, err)
	}
	if err == nil {
		s.void = slices.Concat(s.void, s.spent, []Tokens{s.latest})
		s.suspended, s.home, s.spent = false, from, nil
		s.take(next)
	}
}

func (l *lives) elevate(t *rapid.T) {
	s := l.pick(t)
	if s.suspended || s.actor != "" || !l.active {
		t.Skip("nobody steps up here")
	}
	live := !s.ended && l.clock.now().Before(s.latest.Session.ExpiresAt)
	var next Tokens
	err := l.db.Update(l.Context(), func(tx *store.Tx) (err error) {
		next, err = l.sessions.ElevateTx(l.Context(), tx, s.id, viewer.AAL2, []string{"otp", "mfa"})
		return err
	})
	if live != (err == nil) {
		t.Fatalf("%v: raised %v", s, err)
	}
	if err == nil {
		s.level = viewer.AAL2
		s.take(next)
	}
}

func (l *lives) revoke(t *rapid.T) {
	s := l.pick(t)
	by := viewer.Viewer{User: l.user, Session: s.id}
	var err error
	switch way := rapid.SampledFrom([]string{"one", "one", "others", "all", "impersonations", "by a stranger"}).Draw(t, "which"); way {
	case "one":
		err = l.sessions.Revoke(l.Context(), by, s.id)
		s.ended = true
	case "others":
		err = l.sessions.RevokeOthers(l.Context(), by)
		l.endAll(s.id)
	case "all":
		err = l.sessions.RevokeAll(l.Context(), by, l.user)
		l.endAll("")
	case "impersonations":
		l.update(t, func(tx *store.Tx) error {
			return l.sessions.EndImpersonationsTx(l.Context(), tx, viewer.System(), l.admin)
		})
		for _, one := range l.all {
			one.ended = one.ended || one.actor != ""
		}
	default:
		stranger := viewer.Viewer{User: "usr_stranger", Session: "ses_stranger"}
		if err := l.sessions.Revoke(l.Context(), stranger, s.id); !fault.Is(err, fault.NotFound) {
			t.Fatalf("a stranger ends a session: %v", err)
		}
		if err := l.sessions.RevokeAll(l.Context(), stranger, l.user); !fault.Is(err, fault.NotFound) {
			t.Fatalf("a stranger ends all sessions: %v", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// disable closes the account, or opens it again, as account does.
func (l *lives) disable(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		t.Skip()
	}
	l.active = !l.active
	status := "ACTIVE"
	if !l.active {
		status = "DISABLED"
	}
	l.update(t, func(tx *store.Tx) error {
		if _, err := tx.Exec(l.Context(), setStatus, status, "", l.user); err != nil {
			return err
		}
		return l.sessions.ForgetTx(l.Context(), tx, l.user)
	})
}

// TestNothingButALiveTokenOfALiveSessionAtItsHomeIsAdmittedWhateverHappens starts, renews, raises, suspends,
// lifts, impersonates, revokes and disables in any order, and shows any token that there ever was.
func TestNothingButALiveTokenOfALiveSessionAtItsHomeIsAdmittedWhateverHappens(t *testing.T) {
	h := newHouse(t, sqlite(t))
	admitted := 0
	rapid.Check(t, func(t *rapid.T) {
		l := &lives{house: h, user: h.user(), admin: h.user(), active: true}
		defer func() { admitted += l.admitted }()
		h.exec(setStatus, "ACTIVE", "", l.user)
		show := func(t *rapid.T) {
			s := l.pick(t)
			l.show(t, s, rapid.SampledFrom(s.issued).Draw(t, "token"), l.anywhere(t))
		}
		t.Repeat(map[string]func(*rapid.T){
			"start":       l.begin,
			"impersonate": l.impersonate,
			"show":        show,
			"show again":  show,
			"renew": func(t *rapid.T) {
				s := l.pick(t)
				if s.actor != "" {
					t.Skip("an impersonation is not renewed")
				}
				held := slices.Concat([]Tokens{s.latest, s.latest, s.latest}, s.void)
				if n := len(s.spent); n > 1 {
					held = slices.Concat(held, s.spent[:n-1])
				}
				l.renew(t, s, rapid.SampledFrom(held).Draw(t, "token"), l.anywhere(t))
			},
			"lift":    l.lift,
			"elevate": l.elevate,
			"revoke":  l.revoke,
			"disable": l.disable,
			"time passes": func(t *rapid.T) {
				h.clock.advance(rapid.SampledFrom([]time.Duration{
					time.Second, time.Minute, 4 * time.Minute, 11 * time.Minute, 31 * time.Minute, 4 * 24 * time.Hour,
				}).Draw(t, "how long"))
			},
			"": func(t *rapid.T) {
				for _, s := range l.all {
					for _, held := range s.issued {
						l.show(t, s, held, s.home)
					}
				}
			},
		})
	})
	if admitted == 0 {
		t.Error("nobody was ever admitted: the test shows nothing")
	}
}
