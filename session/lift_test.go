package session

import (
	"context"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// suspended begins a session in Firefox and uses it from Chrome.
func (h *house) suspended(user viewer.UserID) Tokens {
	h.Helper()
	held := h.startAt(user, at(firefox, ""))
	_, _, err := h.sessions.Admit(h.Context(), held.Access, at(chrome, ""))
	h.refuse("elsewhere", err, fault.StepUpRequired)
	return held
}

func (h *house) holds(refreshToken string) viewer.Viewer {
	h.Helper()
	v, err := h.sessions.Holder(h.Context(), refreshToken)
	if err != nil {
		h.Fatal(err)
	}
	if !v.Anonymous() {
		h.Errorf("a refresh token makes somebody of its holder: %+v", v)
	}
	return v
}

func TestTheLiveRefreshTokenOfASuspendedSessionNamesItAndNoOtherDoes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		user := h.user()
		first := h.startAt(user, at(firefox, ""))
		second, err := h.sessions.Refresh(t.Context(), first.Refresh, at(firefox, ""))
		if err != nil {
			t.Fatal(err)
		}
		if v := h.holds(second.Refresh); v.Suspended != "" {
			t.Errorf("of a session in use: %+v", v)
		}
		h.clock.advance(11 * time.Second)
		_, err = h.sessions.Refresh(t.Context(), second.Refresh, at(chrome, ""))
		h.refuse("elsewhere", err, fault.StepUpRequired)
		for range 2 {
			if v := h.holds(second.Refresh); v.Suspended != first.Session.ID {
				t.Errorf("the live token: %+v", v)
			}
		}
		for name, token := range map[string]string{"one used before": first.Refresh, "none": "", "an access token": second.Access} {
			if v := h.holds(token); v.Suspended != "" {
				t.Errorf("%s: %+v", name, v)
			}
		}
		if _, err := h.lift(first.Session.ID, at(firefox, "")); err != nil {
			t.Fatal(err)
		}
		if v := h.holds(second.Refresh); v.Suspended != "" {
			t.Errorf("after the session was lifted: %+v", v)
		}
	})
}

func TestWhatCannotBeLifted(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		user := h.user()
		try := func(id viewer.SessionID) error {
			_, err := h.lift(id, at(firefox, ""))
			return err
		}
		h.refuse("no session", try("ses_none"), fault.Unauthenticated)
		h.refuse("one in use", try(h.startAt(user, at(firefox, "")).Session.ID), fault.WrongState)

		ended := h.suspended(user).Session
		if err := h.sessions.Revoke(t.Context(), viewer.Viewer{User: user}, ended.ID); err != nil {
			t.Fatal(err)
		}
		h.refuse("one that has ended", try(ended.ID), fault.Unauthenticated)

		var acting Tokens
		admin := h.person()
		h.update(func(tx *store.Tx) (err error) {
			acting, err = h.sessions.ImpersonateTx(t.Context(), tx, admin, user, false, at(firefox, ""))
			return err
		})
		v, _, err := h.sessions.Admit(t.Context(), acting.Access, at(chrome, ""))
		h.refuse("an impersonation elsewhere", err, fault.StepUpRequired)
		h.refuse("an impersonation", try(v.Suspended), fault.WrongState)

		idle := h.suspended(user)
		h.clock.advance(14 * 24 * time.Hour)
		h.refuse("one that has expired", try(idle.Session.ID), fault.Unauthenticated)
		if v := h.holds(idle.Refresh); v.Suspended != "" {
			t.Errorf("its refresh token: %+v", v)
		}
	})
}

func TestASuspendedSessionIsNotRaisedBeforeItIsLifted(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.suspended(h.user())
		raise := func() (tokens Tokens, err error) {
			err = h.db.Update(t.Context(), func(tx *store.Tx) (err error) {
				tokens, err = h.sessions.ElevateTx(t.Context(), tx, held.Session.ID, viewer.AAL2, []string{"otp", "mfa"})
				return err
			})
			return tokens, err
		}
		_, err := raise()
		h.refuse("before", err, fault.StepUpRequired)
		fresh, err := h.lift(held.Session.ID, at(firefox, ""))
		if err != nil || h.viewer(fresh).Level != viewer.AAL1 {
			t.Fatalf("the session was raised all the same: %v", err)
		}
		raised, err := raise()
		if err != nil || h.viewer(raised).Level != viewer.AAL2 {
			t.Errorf("after: %v", err)
		}
	})
}

func TestTheOwnerIsToldOfEveryNewSecretOfAMachine(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		var told []Event
		h.sessions.o.Tell = func(_ context.Context, _ *store.Tx, e Event) error { told = append(told, e); return nil }
		owner, scopes := h.person(), []viewer.Scope{viewer.RunJobs}
		key, _ := h.key(owner, KeyWish{Scopes: scopes})
		robot, _, err := h.sessions.CreateServiceAccount(t.Context(), owner, "robot", scopes)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.sessions.RotateServiceAccount(t.Context(), owner, robot.ID, 0); err != nil {
			t.Fatal(err)
		}
		if err := h.sessions.DeleteServiceAccount(t.Context(), owner, robot.ID); err != nil {
			t.Fatal(err)
		}
		want := []Event{
			{Action: ActionKeyCreated, Machine: key.Name},
			{Action: ActionServiceCreated, Machine: "robot"},
			{Action: ActionServiceRotated, Machine: "robot"},
		}
		if len(told) != len(want) {
			t.Fatalf("told %+v, want %d events", told, len(want))
		}
		for i, e := range told {
			if e.Action != want[i].Action || e.Machine != want[i].Machine || e.User != owner.User {
				t.Errorf("told %+v, want %s of %q", e, want[i].Action, want[i].Machine)
			}
			for _, text := range e.Details {
				if text == e.Machine {
					t.Errorf("the name is recorded: %v", e.Details)
				}
			}
		}
	})
}
