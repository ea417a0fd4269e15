package audit_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatehouse/audit"
	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/schema"
)

// patience bounds waits that should succeed.
const patience = 15 * time.Second

type notices struct{ *bus.Bus }

func (n notices) Subscribe(ctx context.Context, topic string, deliver func([]byte), gap func()) (func(), error) {
	return n.Bus.Subscribe(ctx, topic, bus.Listener{Deliver: deliver, Gap: gap})
}

// constants returns the actions by name, as the source declares them.
func constants(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Action" {
			found[spec.Names[0].Name] = strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)
		}
		return true
	})
	return found
}

func TestEveryActionSaysWhetherItsPersonSeesIt(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "personal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	ast.Inspect(source, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok {
				said[key.Name] = true
			}
		}
		return true
	})
	for name, action := range constants(t) {
		if !said[name] {
			t.Errorf("personal does not say whether a person sees %s", action)
		}
	}
}

func TestTheSchemaNamesEveryActionThatAPersonSees(t *testing.T) {
	body := regexp.MustCompile(`(?s)enum SecurityEventType \{(.*?)\n\}`).FindStringSubmatch(schema.SDL())
	if body == nil {
		t.Fatal("the schema has no SecurityEventType")
	}
	var want []string
	for _, action := range audit.Personal() {
		want = append(want, strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(snake(string(action)))))
	}
	got := regexp.MustCompile(`(?m)^\s*([A-Z_]+)$`).FindAllStringSubmatch(body[1], -1)
	var names []string
	for _, g := range got {
		names = append(names, g[1])
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("the schema has %v, the audit shows %v", names, want)
	}
}

// snake writes the capitals inside a name as new words.
func snake(text string) string {
	return regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(text, "${1}_$2")
}

func record(t testing.TB, log *audit.Log, action audit.Action, subject viewer.UserID) {
	t.Helper()
	if err := log.Record(context.Background(), audit.Event{Action: action, By: viewer.Viewer{User: subject}, Subject: subject}); err != nil {
		t.Fatal(err)
	}
}

func TestAPersonReadsTheirOwnSecurityEventsPageByPage(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		log := newLog(db)
		for range 3 {
			record(t, log, audit.LoginSucceeded, ada)
			record(t, log, audit.LoginSucceeded, eve)
			record(t, log, audit.LoginRefused, ada) // none of theirs to see
		}
		by, w, both := viewer.Viewer{User: ada}, page.Window{Size: 2}, []viewer.UserID{eve, ada}
		pages, err := log.Security(t.Context(), by, both, w, true)
		first := pages[ada]
		if err != nil || len(pages) != 1 || len(first.Items) != 2 || !first.HasNext || first.Total != 3 {
			t.Fatalf("the first pages are %+v, %v; want ada's own", pages, err)
		}
		after := audit.CursorOf(first.Items[1])
		w.After = &after
		pages, err = log.Security(t.Context(), by, both, w, false)
		second := pages[ada]
		if err != nil || len(second.Items) != 1 || second.HasNext || second.Items[0].ID >= first.Items[1].ID {
			t.Errorf("the second page is %+v, %v", second, err)
		}
		if _, err := log.Security(t.Context(), viewer.Viewer{}, both, w, false); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("nobody: %v, want UNAUTHENTICATED", err)
		}
		if _, err := log.Security(t.Context(), by, both, page.Window{Size: 2, Backward: true}, false); !fault.Is(err, fault.BadUserInput) {
			t.Errorf("from the end: %v, want BAD_USER_INPUT", err)
		}
		ids := []string{first.Items[0].ID, "evt_none"}
		if got, err := log.ByIDs(t.Context(), by, ids); err != nil || len(got) != 1 || got[ids[0]].ActorKind() != audit.Oneself {
			t.Errorf("ByIDs = %+v, %v", got, err)
		}
		if got, err := log.ByIDs(t.Context(), viewer.Viewer{User: eve}, ids); err != nil || len(got) != 0 {
			t.Errorf("ByIDs by somebody else = %+v, %v; want none", got, err)
		}
	})
}

func TestPagesOfManyAreEachAsOneAlone(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		log := newLog(db)
		people := []viewer.UserID{ada, eve, "usr_none"}
		for range 3 {
			for n := range 7 {
				record(t, log, audit.LoginSucceeded, people[n%2])
			}
			for size := range 4 {
				together, err := log.Security(t.Context(), viewer.System(), people, page.Window{Size: size + 1}, true)
				if err != nil || len(together) != len(people) {
					t.Fatalf("%d pages, %v; want %d", len(together), err, len(people))
				}
				for _, user := range people {
					alone, err := log.Security(t.Context(), viewer.System(), []viewer.UserID{user}, page.Window{Size: size + 1}, true)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(alone[user], together[user]); diff != "" {
						t.Errorf("%s gets another page in company (-alone +together):\n%s", user, diff)
					}
				}
			}
		}
	})
}

func TestWatchingIsForOneselfAndGoesOnAfterAnEventThatWasSeen(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		local := notices{bus.Local()}
		here, there := audit.New(db, audit.Options{Notices: local}), audit.New(db, audit.Options{Notices: local})
		ctx, leave := context.WithTimeout(t.Context(), patience)
		defer leave()
		record(t, here, audit.LoginSucceeded, ada)
		events, err := here.Watch(ctx, viewer.Viewer{User: ada}, "")
		if err != nil {
			t.Fatal(err)
		}
		record(t, there, audit.LoginSucceeded, eve)
		record(t, there, audit.PasswordChanged, ada)
		first := <-events
		if first == nil || first.Action != audit.PasswordChanged || first.Subject != ada {
			t.Fatalf("the first event is %+v, want the change of Ada's password", first)
		}
		record(t, there, audit.SessionRevoked, ada)
		if second := <-events; second == nil || second.Action != audit.SessionRevoked {
			t.Errorf("the second event is %+v", second)
		}
		again, err := here.Watch(ctx, viewer.Viewer{User: ada}, first.ID)
		if err != nil {
			t.Fatal(err)
		}
		if missed := <-again; missed == nil || missed.Action != audit.SessionRevoked {
			t.Errorf("after the first comes %+v", missed)
		}
		leave()
		for range events { // closed when its context ends
		}
		for range again {
		}
		if _, err := here.Watch(t.Context(), viewer.Viewer{}, ""); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("nobody: %v, want UNAUTHENTICATED", err)
		}
		if _, err := here.Watch(t.Context(), viewer.Viewer{User: ada}, "1 OR 1=1"); !fault.Is(err, fault.BadUserInput) {
			t.Errorf("a wrong place: %v, want BAD_USER_INPUT", err)
		}
	})
}

var insertAs = store.SQL(`INSERT INTO audit_events (id, at, action, outcome, actor, subject) VALUES (?, ?, 'login.succeeded', 'SUCCEEDED', ?, ?)`)

// TestAWatchMissesAndRepeatsNothingInWhateverOrderEventsAreCommitted writes events whose ids come in
// another order than their commits, and lets the watcher come back now and then.
func TestAWatchMissesAndRepeatsNothingInWhateverOrderEventsAreCommitted(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		local := notices{bus.Local()}
		log := audit.New(db, audit.Options{Notices: local})
		rapid.Check(t, func(rt *rapid.T) {
			user := store.NewID[viewer.UserID]("usr")
			ctx, leave := context.WithTimeout(context.Background(), patience)
			defer leave()
			events, err := log.Watch(ctx, viewer.Viewer{User: user}, "")
			if err != nil {
				rt.Fatal(err)
			}
			ids := make([]string, rapid.IntRange(1, 12).Draw(rt, "events"))
			for i := range ids {
				ids[i] = store.NewID[string]("evt")
			}
			order := rapid.Permutation(ids).Draw(rt, "order")
			go func() {
				for _, id := range order {
					_ = db.Update(ctx, func(tx *store.Tx) error { // one that is not written is missed below
						_, err := tx.Exec(ctx, insertAs, id, store.At(time.Now()), user, user)
						return err
					})
					_ = local.Publish(ctx, "security:"+string(user), nil)
				}
			}()
			got := map[string]bool{}
			for range ids {
				e := <-events
				if e == nil || got[e.ID] {
					rt.Fatalf("got %v, then %+v", got, e)
				}
				got[e.ID] = true
			}
		})
	})
}
