package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

func TestEventsAreListedByWhatIsAskedForAndPageByPage(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		now := time.Unix(noon, 0).UTC()
		log := audit.New(db, audit.Options{Now: func() time.Time { return now }})
		admin := viewer.Viewer{User: "usr_admin", Roles: []viewer.Role{viewer.Admin}}
		for _, e := range []audit.Event{
			{Action: audit.LoginSucceeded, By: viewer.Viewer{User: ada}, Subject: ada},
			{Action: audit.LoginRefused, Outcome: audit.Refused, Subject: ada},
			{Action: audit.RolesChanged, By: admin, Subject: eve},
			{Action: audit.PasswordChanged, By: viewer.Viewer{User: ada, Actor: "usr_admin"}, Subject: ada},
			{Action: audit.SessionRevoked, By: viewer.Viewer{User: eve, Machine: "key_1"}, Subject: eve},
		} {
			if err := log.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Minute)
		}
		list := func(f audit.Filter, w page.Window) page.Page[audit.Entry] {
			t.Helper()
			got, err := log.List(t.Context(), admin, f, w)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for name, row := range map[string]struct {
			filter audit.Filter
			want   []audit.Action
		}{
			"all":                 {audit.Filter{}, []audit.Action{audit.SessionRevoked, audit.PasswordChanged, audit.RolesChanged, audit.LoginRefused, audit.LoginSucceeded}},
			"about an account":    {audit.Filter{User: ada}, []audit.Action{audit.PasswordChanged, audit.LoginRefused, audit.LoginSucceeded}},
			"by an administrator": {audit.Filter{User: "usr_admin"}, []audit.Action{audit.PasswordChanged, audit.RolesChanged}},
			"an action":           {audit.Filter{Action: "login.refused"}, []audit.Action{audit.LoginRefused}},
			"a family of actions": {audit.Filter{Action: "login."}, []audit.Action{audit.LoginRefused, audit.LoginSucceeded}},
			"a beginning of one":  {audit.Filter{Action: "login"}, nil},
			"an outcome":          {audit.Filter{Outcome: audit.Refused}, []audit.Action{audit.LoginRefused}},
			"a time":              {audit.Filter{From: time.Unix(noon+60, 0), To: time.Unix(noon+180, 0)}, []audit.Action{audit.RolesChanged, audit.LoginRefused}},
			"two that do not fit": {audit.Filter{User: eve, Outcome: audit.Refused}, nil},
		} {
			var got []audit.Action
			page := list(row.filter, page.Window{Size: 100})
			for _, e := range page.Items {
				got = append(got, e.Action)
			}
			if !slices.Equal(got, row.want) || page.Total != len(row.want) {
				t.Errorf("%s: %v of %d, want %v", name, got, page.Total, row.want)
			}
		}
		all := list(audit.Filter{}, page.Window{Size: 100}).Items
		if as := all[1]; as.Actor != "usr_admin" || as.Details["as"] != string(ada) || all[0].Details["machine"] != "key_1" {
			t.Errorf("who acts as another, or by a machine, is recorded as %+v and %+v", as, all[0])
		}
		var walked []string
		for w := (page.Window{Size: 2}); ; {
			got := list(audit.Filter{}, w)
			for _, e := range got.Items {
				walked = append(walked, e.ID)
			}
			if !got.HasNext {
				break
			}
			after := audit.CursorOf(&got.Items[len(got.Items)-1])
			w.After = &after
		}
		before := audit.CursorOf(&all[len(all)-1])
		back := list(audit.Filter{}, page.Window{Size: 2, Backward: true, Before: &before})
		if fmt.Sprint(walked) != fmt.Sprint([]string{all[0].ID, all[1].ID, all[2].ID, all[3].ID, all[4].ID}) || back.Items[1].ID != all[3].ID {
			t.Errorf("page by page %v; backward %+v", walked, back.Items)
		}
		for name, row := range map[string]struct {
			by     viewer.Viewer
			filter audit.Filter
			code   fault.Code
		}{
			"a user":       {viewer.Viewer{User: ada}, audit.Filter{}, fault.Forbidden},
			"nobody":       {viewer.Viewer{}, audit.Filter{}, fault.Unauthenticated},
			"all of SQL's": {admin, audit.Filter{Action: "%."}, fault.BadUserInput},
			"any of SQL's": {admin, audit.Filter{Action: "devic_."}, fault.BadUserInput},
		} {
			if _, err := log.List(t.Context(), row.by, row.filter, page.Window{Size: 1}); !fault.Is(err, row.code) {
				t.Errorf("%s: %v, want %s", name, err, row.code)
			}
		}
	})
}

// TestEachActionIsFoundByItsNameAndByItsFamilyAlone records two events of every action there is, one of them
// refused, and asks for each as an administrator does.
func TestEachActionIsFoundByItsNameAndByItsFamilyAlone(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		log := newLog(db)
		admin := viewer.Viewer{User: "usr_admin", Roles: []viewer.Role{viewer.Admin}}
		families := map[string][]audit.Action{}
		for _, name := range constants(t) {
			action := audit.Action(name)
			family, _, _ := strings.Cut(name, ".")
			families[family+"."] = append(families[family+"."], action)
			for _, outcome := range []audit.Outcome{audit.Succeeded, audit.Refused} {
				if err := log.Record(t.Context(), audit.Event{Action: action, Outcome: outcome, Subject: ada}); err != nil {
					t.Fatal(err)
				}
			}
		}
		find := func(f audit.Filter) []audit.Action {
			t.Helper()
			got, err := log.List(t.Context(), admin, f, page.Window{Size: 100})
			if err != nil {
				t.Fatalf("%+v: %v", f, err)
			}
			var actions []audit.Action
			for _, e := range got.Items {
				actions = append(actions, e.Action)
			}
			slices.Sort(actions)
			if got.Total != len(actions) {
				t.Errorf("%+v counts %d and lists %d", f, got.Total, len(actions))
			}
			return actions
		}
		for family, want := range families {
			slices.Sort(want)
			if got := find(audit.Filter{Action: family, Outcome: audit.Refused}); !slices.Equal(got, want) {
				t.Errorf("%s finds %v, want %v", family, got, want)
			}
			for _, action := range want {
				if got := find(audit.Filter{Action: string(action)}); !slices.Equal(got, []audit.Action{action, action}) {
					t.Errorf("%s finds %v", action, got)
				}
				if got := find(audit.Filter{Action: string(action), Outcome: audit.Succeeded, User: ada}); len(got) != 1 {
					t.Errorf("%s of Ada's that succeeded finds %v", action, got)
				}
				if got := find(audit.Filter{Action: string(action), User: eve}); got != nil {
					t.Errorf("%s of Eve's finds %v", action, got)
				}
			}
		}
	})
}
