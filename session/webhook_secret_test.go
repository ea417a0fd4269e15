package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

func TestAWebhookSecretIsTheAccountsAloneAndTheLastOneSignsForAWhile(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		other := h.server(nil, h.notices)
		owner, stranger := h.person(), h.person()
		machine, _, err := h.sessions.CreateServiceAccount(t.Context(), owner, "robot", []viewer.Scope{viewer.RunJobs})
		if err != nil {
			t.Fatal(err)
		}
		signing := func(of viewer.UserID) []WebhookSecret {
			t.Helper()
			secrets, err := other.WebhookSecrets(t.Context(), of)
			if err != nil {
				t.Fatal(err)
			}
			return secrets
		}
		rotate := func(grace time.Duration) WebhookSecret {
			t.Helper()
			secret, err := h.sessions.RotateWebhookSecret(t.Context(), owner, grace)
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
		unseen, theirs := signing(owner.User), signing(stranger.User)
		if len(unseen) != 1 || len(theirs) != 1 || unseen[0] == theirs[0] {
			t.Fatalf("two accounts sign with %d and %d secrets, the same: %t", len(unseen), len(theirs), unseen[0] == theirs[0])
		}
		h.actions()
		first := rotate(0)
		second := rotate(time.Hour)
		if got := h.actions(); !slices.Equal(got, []string{ActionWebhookRotated, ActionWebhookRotated}) {
			t.Errorf("recorded was %v", got)
		}
		if first == unseen[0] || first == second || !strings.HasPrefix(second.Text(), "whsec_") {
			t.Error("a rotation gives no new secret")
		}
		for _, of := range []viewer.UserID{owner.User, viewer.UserID(machine.ID)} {
			if got := signing(of); !slices.Equal(got, []WebhookSecret{second, first}) {
				t.Errorf("%s signs with %d secrets, want the present and the last one", of, len(got))
			}
		}
		h.clock.advance(time.Hour)
		if got := signing(owner.User); !slices.Equal(got, []WebhookSecret{second}) {
			t.Errorf("after the grace %d secrets sign", len(got))
		}
		if got := signing(stranger.User); !slices.Equal(got, theirs) {
			t.Error("another account's rotation changed a secret")
		}
		if shown := fmt.Sprintf("%v %+v %#v", second, second, second); strings.Contains(shown, second.Text()[6:20]) || strings.Count(shown, "[webhook secret]") != 3 {
			t.Errorf("a secret prints as %s", shown)
		}
	})
}

func TestOnlyAPersonRotatesTheirWebhookSecret(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner := h.person()
		key := viewer.Viewer{User: owner.User, Machine: "key_1", Scopes: []viewer.Scope{viewer.RunJobs}}
		for _, c := range []struct {
			name  string
			by    viewer.Viewer
			grace time.Duration
			want  fault.Code
		}{
			{"nobody", viewer.Viewer{}, 0, fault.Unauthenticated},
			{"a key", key, 0, fault.Forbidden},
			{"the server", viewer.System(), 0, fault.Unauthenticated},
			{"a grace of more than a week", owner, MaxWebhookGrace + 1, fault.Invalid},
			{"a grace below nothing", owner, -1, fault.Invalid},
		} {
			_, err := h.sessions.RotateWebhookSecret(t.Context(), c.by, c.grace)
			h.refuse(c.name, err, c.want)
		}
	})
}
