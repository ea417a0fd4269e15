package session

import (
	"testing"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

func TestWhatBelongsToManyIsReadByWhoMaySeeItAndInEachBatchForItselfAlone(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada, eve := viewer.Viewer{User: h.user()}, viewer.Viewer{User: h.user()}
		held := h.login(ada.User)
		h.login(eve.User)
		key, _ := h.key(ada, KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}})
		service, _, err := h.sessions.CreateServiceAccount(t.Context(), ada, "robot", []viewer.Scope{viewer.RunJobs})
		if err != nil {
			t.Fatal(err)
		}
		admin := []viewer.Role{viewer.Admin}
		both := []viewer.UserID{eve.User, ada.User}
		for name, c := range map[string]struct {
			by        viewer.Viewer
			ada, eves int // how many of each are seen
		}{
			"the owner":                    {ada, 1, 0},
			"another":                      {viewer.Viewer{User: "usr_none"}, 0, 0},
			"an administrator":             {viewer.Viewer{User: "usr_none", Roles: admin}, 1, 1},
			"a key that reads the account": {viewer.Viewer{User: ada.User, Machine: "key_1", Scopes: []viewer.Scope{viewer.ReadAccount}}, 1, 0},
			"a key that runs jobs":         {viewer.Viewer{User: ada.User, Machine: "key_1", Scopes: []viewer.Scope{viewer.RunJobs}}, 0, 0},
			"an administrator's poor key":  {viewer.Viewer{User: "usr_none", Roles: admin, Machine: "key_2", Scopes: []viewer.Scope{viewer.ReadJobs}}, 0, 0},
			"one who acts as her":          {viewer.Viewer{User: ada.User, Actor: eve.User, Scopes: viewer.Impersonating()}, 1, 0},
		} {
			sessions, err := h.sessions.ByUsers(t.Context(), c.by, both)
			if err != nil || len(sessions) != c.ada+c.eves || len(sessions[ada.User]) != c.ada || len(sessions[eve.User]) != c.eves {
				t.Errorf("%s sees the sessions %d and %d, %v", name, len(sessions[ada.User]), len(sessions[eve.User]), err)
			}
			keys, err := h.sessions.APIKeys(t.Context(), c.by, both)
			if err != nil || len(keys) != c.ada+c.eves || len(keys[ada.User]) != c.ada {
				t.Errorf("%s sees the keys %d and %d, %v", name, len(keys[ada.User]), len(keys[eve.User]), err)
			}
			services, err := h.sessions.ServiceAccounts(t.Context(), c.by, both)
			if err != nil || len(services) != c.ada+c.eves || len(services[ada.User]) != c.ada {
				t.Errorf("%s sees the service accounts %d and %d, %v", name, len(services[ada.User]), len(services[eve.User]), err)
			}
			byID, err := h.sessions.ByIDs(t.Context(), c.by, []viewer.SessionID{held.Session.ID, "ses_none"})
			if err != nil || len(byID) != c.ada {
				t.Errorf("%s sees by id the sessions %v, %v", name, byID, err)
			}
			oneKey, err := h.sessions.APIKeysByIDs(t.Context(), c.by, []viewer.MachineID{key.ID, "key_none"})
			if err != nil || len(oneKey) != c.ada {
				t.Errorf("%s sees by id the keys %v, %v", name, oneKey, err)
			}
			oneService, err := h.sessions.ServiceAccountsByIDs(t.Context(), c.by, []viewer.MachineID{service.ID, "svc_none"})
			if err != nil || len(oneService) != c.ada {
				t.Errorf("%s sees by id the service accounts %v, %v", name, oneService, err)
			}
		}
		_, err = h.sessions.APIKeys(t.Context(), viewer.Viewer{}, both)
		h.refuse("nobody", err, fault.Unauthenticated)
		_, err = h.sessions.List(t.Context(), viewer.Viewer{User: eve.User}, ada.User)
		h.refuse("the list of another", err, fault.NotFound)
	})
}
