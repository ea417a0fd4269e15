package transport

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

type nobody struct{ _ int }

func (*nobody) goodbye(time.Duration) {}
func (*nobody) cut()                  {}

// TestNoPeerHasMoreThanItMayWhoeverComesAndGoes lets members of a few peers come and go.
func TestNoPeerHasMoreThanItMayWhoeverComesAndGoes(t *testing.T) {
	const most, mostOfPeer = 7, 3
	rapid.Check(t, func(t *rapid.T) {
		var r register
		var open []*nobody
		of := map[*nobody]string{}
		count := func(peer string) (n int) {
			for _, m := range open {
				if of[m] == peer {
					n++
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"come": func(t *rapid.T) {
				m := new(nobody)
				of[m] = rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "peer")
				want := welcome
				switch {
				case len(open) >= most:
					want = full
				case of[m] != "" && count(of[m]) >= mostOfPeer:
					want = greedy
				}
				if got := r.join(m, most, of[m], mostOfPeer); got != want {
					t.Fatalf("with %d open and %d of %q: join = %d, want %d", len(open), count(of[m]), of[m], got, want)
				}
				if want == welcome {
					open = append(open, m)
				}
			},
			"go": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("nobody is here")
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "who")
				r.leave(open[i])
				open = append(open[:i], open[i+1:]...)
			},
			"": func(t *rapid.T) {
				for peer, n := range r.peers {
					if n == 0 || n != count(peer) {
						t.Fatalf("%q is counted %d times, has %d", peer, n, count(peer))
					}
				}
			},
		})
	})
}
