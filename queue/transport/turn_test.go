package transport

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"gatehouse/test/services"

	"pgregory.net/rapid"
)

// taken returns n messages as they are fetched.
func taken(t testing.TB, w *Wire, n int) []string {
	t.Helper()
	jobs := make([]string, n)
	for i := range jobs {
		jobs[i], _ = fetchJob(t, w, "lane")
	}
	return jobs
}

func of(owner string, jobs ...string) []Message {
	messages := make([]Message, len(jobs))
	for i, job := range jobs {
		messages[i] = Message{"job": job, Of: owner}
	}
	return messages
}

func pushOf(t testing.TB, w *Wire, messages []Message) {
	t.Helper()
	if err := w.Push(t.Context(), "lane", messages...); err != nil {
		t.Fatal(err)
	}
}

func TestOwnersTakeTurns(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		pushOf(t, w, of("a", "a1", "a2", "a3", "a4"))
		pushOf(t, w, of("b", "b1", "b2"))
		if got, want := taken(t, w, 2), []string{"a1", "b1"}; !slices.Equal(got, want) {
			t.Fatalf("fetched %v, want %v", got, want)
		}
		pushOf(t, w, of("c", "c1"))
		pushOf(t, w, of("", "nobody's"))
		pushOf(t, w, of("b", "b3"))
		if got, want := taken(t, w, 7), []string{"a2", "b2", "c1", "nobody's", "a3", "b3", "a4"}; !slices.Equal(got, want) {
			t.Errorf("fetched %v, want %v", got, want)
		}
		if left, err := w.Waiting(t.Context(), "lane"); err != nil || left["lane"] != 0 {
			t.Errorf("%v wait, %v", left, err)
		}
	})
}

// The model is the rule said once more: a list of owners, each with a list.
func TestWhateverIsPushedAndPoppedTurnsAreAsInTheModel(t *testing.T) {
	url := services.Redis(t)
	for name, w := range map[string]*Wire{"local": start(t, Local(Options{})), "redis": process(t, url, Options{})} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				var turns []string
				waiting := map[string][]string{}
				n, left := 0, 0
				for range rapid.IntRange(1, 30).Draw(r, "steps") {
					if left > 0 && rapid.Bool().Draw(r, "pop") {
						next := turns[0]
						turns = turns[1:]
						want := waiting[next][0]
						if waiting[next] = waiting[next][1:]; len(waiting[next]) > 0 {
							turns = append(turns, next)
						}
						left--
						if got, _ := fetchJob(t, w, "lane"); got != want {
							r.Fatalf("fetched %s, want %s", got, want)
						}
						continue
					}
					var messages []Message
					for range rapid.IntRange(1, 12).Draw(r, "messages") {
						owner := rapid.SampledFrom([]string{"", "a", "b", "a_b", "usr_0"}).Draw(r, "owner")
						n++
						messages = append(messages, of(owner, fmt.Sprint(n))...)
						if len(waiting[owner]) == 0 {
							turns = append(turns, owner)
						}
						waiting[owner] = append(waiting[owner], fmt.Sprint(n))
						left++
					}
					pushOf(t, w, messages)
				}
				if counts, err := w.Waiting(t.Context(), "lane"); err != nil || counts["lane"] != int64(left) {
					r.Fatalf("%v wait, %v; want %d", counts, err, left)
				}
				for range left {
					fetchJob(t, w, "lane")
				}
			})
		})
	}
}

func TestAnOwnerFillsTheirPartOfALaneAndNoMore(t *testing.T) {
	o := Options{OwnerLimit: 3}
	for name, w := range map[string]*Wire{"local": start(t, Local(o)), "redis": process(t, services.Redis(t), o)} {
		t.Run(name, func(t *testing.T) {
			messages := append(of("a", "a1", "a2", "a3", "a4", "a5"), of("b", "b1")...)
			if err := w.Push(t.Context(), "lane", messages...); !errors.Is(err, ErrFull) {
				t.Fatalf("push of more than an owner may have: %v, want %v", err, ErrFull)
			}
			if got, want := taken(t, w, 4), []string{"a1", "b1", "a2", "a3"}; !slices.Equal(got, want) {
				t.Errorf("fetched %v, want %v", got, want)
			}
			pushOf(t, w, of("a", "a6"))
			if got, _ := fetchJob(t, w, "lane"); got != "a6" {
				t.Errorf("fetched %s after there was room", got)
			}
		})
	}
}

func TestAStrangeOwnerIsTheSameWhenPushedAndWhenPopped(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		for _, name := range []string{`a"b`, `a\`, "a:b", "ä", " ", `","of":"b`, "b"} {
			pushOf(t, w, of(name, "1", "2"))
			if got := taken(t, w, 2); !slices.Equal(got, []string{"1", "2"}) {
				t.Errorf("owner %q: fetched %v", name, got)
			}
			if left, err := w.Waiting(t.Context(), "lane"); err != nil || left["lane"] != 0 {
				t.Errorf("owner %q: %v wait, %v", name, left, err)
			}
		}
	})
}
