package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// said sends an operation and returns its data, and the codes of its errors by path.
func (h *house) said(token, query string) (data string, codes map[string]string) {
	h.t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		h.t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	var answer struct {
		Data   json.RawMessage
		Errors []struct {
			Path       []any
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		h.t.Fatalf("%s\nanswered %s", query, w.Body)
	}
	codes = map[string]string{}
	for _, e := range answer.Errors {
		codes[strings.Trim(fmt.Sprint(e.Path...), "[]")] = e.Extensions.Code
	}
	return string(answer.Data), codes
}

// TestAMachineSeesOfItsOwnerWhatItsScopesSay asks for each field of an account alone, so that a new one is
// closed until it is opened here.
func TestAMachineSeesOfItsOwnerWhatItsScopesSay(t *testing.T) {
	c := newCrowd(t, "", 1)
	owner := c.users[0]
	by := viewer.Viewer{User: owner, Level: viewer.AAL2, AuthTime: time.Now()}
	key := func(scopes ...viewer.Scope) string {
		_, shown, err := c.sessions.CreateAPIKey(t.Context(), by, session.KeyWish{Name: "key", Scopes: scopes})
		c.must(err)
		return shown
	}
	poor, rich := key(viewer.RunJobs), key(viewer.RunJobs, viewer.ReadAccount)
	job := c.jobs[0]
	for _, field := range fieldsOf(t, "User") {
		open := field == "id" || strings.HasPrefix(field, "jobs")
		for _, form := range []string{`{me{%s}}`, `{me{...on Node{...on User{a:%s}}}}`, `{job(id:"` + string(job) + `"){owner{%s}}}`, `{jobs(first:1){edges{node{owner{__typename %s}}}}}`} {
			query := fmt.Sprintf(form, field)
			if data, codes := c.said(poor, query); open == (len(codes) > 0) {
				t.Errorf("without account:read %s answers %s, %v", query, data, codes)
			}
			if data, codes := c.said(rich, query); len(codes) > 0 {
				t.Errorf("with account:read %s answers %s, %v", query, data, codes)
			}
		}
		for _, query := range []string{
			fmt.Sprintf(`{node(id:%q){...on User{%s}}}`, owner, field), fmt.Sprintf(`{user(id:%q){%s}}`, owner, field),
		} {
			if data, codes := c.said(poor, query); len(codes) == 0 {
				t.Errorf("without account:read %s answers %s", query, data)
			}
			if data, codes := c.said(rich, query); len(codes) > 0 {
				t.Errorf("with account:read %s answers %s, %v", query, data, codes)
			}
		}
	}
	admin := viewer.Viewer{User: c.accountOf(c.admin).User, Roles: []viewer.Role{viewer.Admin}}
	_, reader, err := c.sessions.CreateAPIKey(t.Context(), admin, session.KeyWish{Name: "jobs", Scopes: []viewer.Scope{viewer.ReadJobs}})
	c.must(err)
	whose := func(fields string) string {
		return fmt.Sprintf(`{jobs(first:1,filter:{ownerId:%q}){nodes{owner{%s}}}}`, owner, fields)
	}
	if data, codes := c.said(reader, whose("id")); len(codes) > 0 || !strings.Contains(data, "usr_") {
		t.Errorf("whose a job is, for who reads all jobs: %s, %v", data, codes)
	}
	if data, codes := c.said(reader, whose("id email")); len(codes) != 1 || strings.Contains(data, "@") {
		t.Errorf("the address, for who reads all jobs but no accounts: %s, %v", data, codes)
	}
	if data, codes := c.said(reader, whose("sessions{totalCount}")); len(codes) == 0 {
		t.Errorf("the sessions, for who reads all jobs but no accounts: %s", data)
	}
}

// TestACopyOfOnesDataTakesMoreThanALookAtJobs asks as each key for the files and the result of an export.
func TestACopyOfOnesDataTakesMoreThanALookAtJobs(t *testing.T) {
	c := newCrowd(t, "", 1)
	owner := c.users[0]
	by := viewer.Viewer{User: owner, Level: viewer.AAL2, AuthTime: time.Now(), Roles: []viewer.Role{viewer.User}}
	root := viewer.Viewer{User: c.accountOf(c.admin).User, Roles: []viewer.Role{viewer.Admin}}
	export, err := c.accounts.RequestExport(t.Context(), by)
	c.must(err)
	c.await(export.ID)
	key := func(by viewer.Viewer, scopes ...viewer.Scope) string {
		_, shown, err := c.sessions.CreateAPIKey(t.Context(), by, session.KeyWish{Name: "key", Scopes: scopes})
		c.must(err)
		return shown
	}
	for name, row := range map[string]struct {
		key  string
		open bool
	}{
		"jobs alone":                  {key(by, viewer.RunJobs), false},
		"jobs and account":            {key(by, viewer.RunJobs, viewer.ReadAccount), true},
		"everybody's jobs alone":      {key(root, viewer.ReadJobs), false},
		"everybody's jobs and people": {key(root, viewer.ReadJobs, viewer.ReadUsers), true},
		"the administrator in person": {c.admin, true},
	} {
		for _, field := range []string{"artifacts{url}", "result{__typename}"} {
			for _, query := range []string{
				fmt.Sprintf(`{job(id:%q){%s}}`, export.ID, field),
				fmt.Sprintf(`{jobs(first:1,filter:{ownerId:%q,kinds:["exportData"]}){nodes{%s}}}`, owner, field),
			} {
				if data, codes := c.said(row.key, query); row.open == (len(codes) > 0) {
					t.Errorf("%s: %s answers %s, %v", name, query, data, codes)
				}
			}
		}
	}
}
