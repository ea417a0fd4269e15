package queue_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// readers copy a field from a whole job, as a list that is asked for it brings it.
var readers = map[queue.Fields]func(of, into *queue.Job){
	queue.WithOwner:       func(of, into *queue.Job) { into.Owner = of.Owner },
	queue.WithKind:        func(of, into *queue.Job) { into.Kind = of.Kind },
	queue.WithQueue:       func(of, into *queue.Job) { into.Queue = of.Queue },
	queue.WithPriority:    func(of, into *queue.Job) { into.Priority = of.Priority },
	queue.WithState:       func(of, into *queue.Job) { into.State = of.State },
	queue.WithAttempt:     func(of, into *queue.Job) { into.Attempt = of.Attempt },
	queue.WithMaxAttempts: func(of, into *queue.Job) { into.MaxAttempts = of.MaxAttempts },
	queue.WithInput:       func(of, into *queue.Job) { into.Input = of.Input },
	queue.WithSequence:    func(of, into *queue.Job) { into.Sequence = of.Sequence },
	queue.WithProgress: func(of, into *queue.Job) {
		into.Progress.Done, into.Progress.Total = of.Progress.Done, of.Progress.Total
	},
	queue.WithStage:      func(of, into *queue.Job) { into.Progress.Stage = of.Progress.Stage },
	queue.WithResult:     func(of, into *queue.Job) { into.Kind, into.State, into.Result = of.Kind, of.State, of.Result },
	queue.WithError:      func(of, into *queue.Job) { into.Error = of.Error },
	queue.WithCreatedAt:  func(of, into *queue.Job) { into.CreatedAt = of.CreatedAt },
	queue.WithRunAt:      func(of, into *queue.Job) { into.RunAt = of.RunAt },
	queue.WithStartedAt:  func(of, into *queue.Job) { into.StartedAt = of.StartedAt },
	queue.WithFinishedAt: func(of, into *queue.Job) { into.FinishedAt = of.FinishedAt },
	queue.WithExpiresAt:  func(of, into *queue.Job) { into.ExpiresAt = of.ExpiresAt },
	queue.WithParent:     func(of, into *queue.Job) { into.Parent = of.Parent },
}

// orders are the fields to sort by, each with what a list in that order reads of a job.
var orders = map[queue.OrderField]queue.Fields{
	queue.CreatedAt: queue.WithCreatedAt, queue.RunAt: queue.WithRunAt, queue.FinishedAt: queue.WithFinishedAt,
}

// excerpt returns of j its id and fields.
func excerpt(j *queue.Job, fields queue.Fields) *queue.Job {
	e := &queue.Job{ID: j.ID}
	for field, read := range readers {
		if fields&field != 0 {
			read(j, e)
		}
	}
	return e
}

// furnish makes jobs of ada and eve in all final states and some others, and returns them whole.
func furnish(t testing.TB, y *yard) (*process, []*queue.Job) {
	small := echo("small")
	large := echo("large")
	large.Handle = func(_ context.Context, run *queue.Run, a args) (answer, error) {
		run.Report(3, 4, "writing")
		return answer{strings.Repeat(a.Text, 70_000)}, nil
	}
	broken := echo("broken")
	broken.Handle = func(context.Context, *queue.Run, args) (answer, error) {
		return answer{}, queue.Permanent(errors.New("no use"))
	}
	p := y.start(queue.Options{Workers: 1}, small.Define(), large.Define(), broken.Define())
	var ids []queue.ID
	add := func(k queue.Kind[args, answer], owner viewer.Viewer, wait time.Duration) {
		o := queue.JobOptions{Priority: queue.High}
		if wait > 0 {
			o.RunAt = time.Now().Add(wait)
		}
		r, err := k.Request(owner.User, args{"x"}, o)
		if err != nil {
			t.Fatal(err)
		}
		j, err := p.Enqueue(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if wait == 0 {
			events, err := p.Watch(t.Context(), root, j.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range events { // until it has ended
			}
		}
		ids = append(ids, j.ID)
	}
	for _, owner := range []viewer.Viewer{ada, eve, ada} {
		add(small, owner, 0)
		add(large, owner, 0)
		add(broken, owner, 0)
		add(small, owner, time.Hour)
		add(large, owner, 2*time.Hour)
	}
	if _, err := p.Cancel(t.Context(), root, ids[3]); err != nil {
		t.Fatal(err)
	}
	found, err := p.ByIDs(t.Context(), root, ids)
	if err != nil || len(found) != len(ids) {
		t.Fatalf("%d jobs, %v", len(found), err)
	}
	return p, slices.Collect(maps.Values(found))
}

// list is one draw of what a list may be asked.
type list struct {
	by     viewer.Viewer
	filter queue.Filter
	order  queue.Order
	window page.Window
	want   queue.Want
}

func drawList(t *rapid.T, jobs []*queue.Job) list {
	some := func(name string, of ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, 2, rapid.ID[string]).Draw(t, name)
	}
	place := func(name string) *queue.Job { return rapid.SampledFrom(jobs).Draw(t, name) }
	l := list{
		by:     rapid.SampledFrom([]viewer.Viewer{ada, eve, root}).Draw(t, "by"),
		filter: queue.Filter{Kinds: some("kinds", "small", "large", "broken", "none"), Queues: some("queues", queue.DefaultQueue)},
		order:  queue.Order{Field: rapid.SampledFrom(slices.Sorted(maps.Keys(orders))).Draw(t, "order"), Ascending: rapid.Bool().Draw(t, "ascending")},
		window: page.Window{Size: rapid.IntRange(1, 20).Draw(t, "size"), Backward: rapid.Bool().Draw(t, "backward")},
		want:   queue.Want{Fields: queue.Fields(rapid.Uint32Max(uint32(queue.Everything)).Draw(t, "fields")), Total: rapid.Bool().Draw(t, "total")},
	}
	for _, s := range some("states", "SUCCEEDED", "FAILED", "CANCELLED", "SCHEDULED") {
		l.filter.States = append(l.filter.States, queue.State(s))
	}
	if rapid.Bool().Draw(t, "of one owner") {
		l.filter.Owner = l.by.User
		if len(l.by.Roles) > 0 {
			l.filter.Owner = ada.User
		}
	}
	if rapid.Bool().Draw(t, "bounded") {
		l.filter.CreatedAfter = store.At(place("created after").CreatedAt)
	}
	if rapid.Bool().Draw(t, "after another") {
		l.window.After = new(cursor(place("after"), l.order.Field))
	}
	if rapid.Bool().Draw(t, "before another") {
		l.window.Before = new(cursor(place("before"), l.order.Field))
	}
	return l
}

func cursor(j *queue.Job, field queue.OrderField) page.Cursor {
	return (*queue.Excerpt)(j).Cursor(field)
}

// of returns the jobs that the list finds and how many it counts: the rules of the list in Go.
func (l list) of(jobs []*queue.Job) (items []*queue.Job, total int) {
	f := l.filter
	among := func(n int, found bool) bool { return n == 0 || found }
	compare := func(a, b page.Cursor) int {
		order := cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
		if !l.order.Ascending {
			return -order
		}
		return order
	}
	for _, j := range jobs {
		if (l.by.User == root.User || j.Owner == l.by.User) && (f.Owner == "" || f.Owner == j.Owner) &&
			among(len(f.States), slices.Contains(f.States, j.State)) && among(len(f.Kinds), slices.Contains(f.Kinds, j.Kind)) &&
			among(len(f.Queues), slices.Contains(f.Queues, j.Queue)) &&
			(f.CreatedAfter == nil || j.CreatedAt.UnixMicro() >= f.CreatedAfter.(int64)) {
			total++
			at := cursor(j, l.order.Field)
			if (l.window.After == nil || compare(at, *l.window.After) > 0) && (l.window.Before == nil || compare(at, *l.window.Before) < 0) {
				items = append(items, j)
			}
		}
	}
	slices.SortFunc(items, func(a, b *queue.Job) int { return compare(cursor(a, l.order.Field), cursor(b, l.order.Field)) })
	if over := len(items) - l.window.Size; over > 0 && l.window.Backward {
		items = items[over:]
	} else if over > 0 {
		items = items[:l.window.Size]
	}
	return items, total
}

func TestAListBringsWhatIsAskedOfTheJobsThatItsFilterChoosesAndNoMore(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p, jobs := furnish(t, y)
		text := func(j *queue.Job) string {
			text, err := json.Marshal(j)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		for fields := range queue.Fields(150) { // so that not all forms of the statement are kept prepared
			if _, err := p.List(t.Context(), ada, queue.Filter{}, queue.Order{}, page.Window{Size: 1}, queue.Want{Fields: fields}); err != nil {
				t.Fatal(err)
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			l := drawList(t, jobs)
			want, total := l.of(jobs)
			ctx, statements := counted(context.Background())
			got, err := p.List(ctx, l.by, l.filter, l.order, l.window, l.want)
			if err != nil || len(got.Items) != len(want) {
				t.Fatalf("%d jobs, %v; want %d", len(got.Items), err, len(want))
			}
			if l.want.Total && got.Total != total {
				t.Errorf("%d in all, want %d", got.Total, total)
			}
			fields := l.want.Fields | orders[l.order.Field]
			for i, e := range got.Items {
				if a, b := text((*queue.Job)(e)), text(excerpt(want[i], fields)); a != b {
					t.Fatalf("job %d is\n%s, want of it\n%s", i, a, b)
				}
				if fields&queue.WithResult == 0 {
					continue
				}
				result, err := p.Result(ctx, (*queue.Job)(e))
				whole, _ := p.Result(context.Background(), want[i])
				if err != nil || string(result) != string(whole) || (result != nil) != (want[i].State == queue.Succeeded) {
					t.Errorf("a result of %d bytes, %v; want %d", len(result), err, len(whole))
				}
			}
			most := int64(1)
			if l.want.Total {
				most = 2
			}
			if n := statements.Load(); n != most {
				t.Errorf("the list and its results cost %d statements, want %d", n, most)
			}
		})
	})
}

func TestAPageOfEachOwnerIsTheListOfThatOwnerForOneStatement(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p, jobs := furnish(t, y)
		owners := []viewer.UserID{"usr_none", eve.User, ada.User}
		rapid.Check(t, func(t *rapid.T) {
			l := drawList(t, jobs)
			ctx, statements := counted(context.Background())
			together, err := p.ListOf(ctx, l.by, owners, l.filter, l.order, l.window, l.want)
			if err != nil {
				t.Fatal(err)
			}
			for _, owner := range owners {
				l.filter.Owner = owner
				l.want.Fields |= queue.WithOwner
				want, err := p.List(context.Background(), l.by, l.filter, l.order, l.window, l.want)
				got, seen := together[owner]
				if seen == fault.Is(err, fault.Forbidden) {
					t.Fatalf("%s of %s: seen together %t, alone %v", l.by.User, owner, seen, err)
				}
				if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(queue.Excerpt{}), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s gets another page in company (-alone +together):\n%s", owner, diff)
				}
			}
			most := int64(1)
			if l.want.Total {
				most = 2
			}
			if n := statements.Load(); n != most {
				t.Errorf("the pages cost %d statements, want %d", n, most)
			}
		})
	})
}

func TestEveryFieldOfAListHasItsColumn(t *testing.T) {
	var all queue.Fields
	for field := range readers {
		all |= field
	}
	if all != queue.Everything {
		t.Errorf("the tests know the fields %b, there are %b", all, queue.Everything)
	}
}

func BenchmarkList(b *testing.B) {
	y := newYard(b, "sqlite:"+filepath.Join(b.TempDir(), "q.db"), "")
	k := echo("processCsv")
	p := y.start(queue.Options{}, k.Define())
	for range 40 {
		p.enqueue(b, k, "a text of some length", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
	}
	for _, c := range []struct {
		name   string
		fields queue.Fields
	}{
		{"what a page shows", queue.WithKind | queue.WithState | queue.WithCreatedAt | queue.WithProgress | queue.WithOwner},
		{"everything", queue.Everything},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.List(b.Context(), ada, queue.Filter{}, queue.Order{}, page.Window{Size: 20}, queue.Want{Fields: c.fields}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
