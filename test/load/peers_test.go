//go:build linux

package load

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

const (
	meQuery   = `{me{id email name roles createdAt}}`
	listQuery = `{jobs(first:20){nodes{id kind state createdAt progress{fraction} owner{id email}} pageInfo{hasNextPage}}}`
	peers     = "../peers"
)

// contest is programs that answer the same question, measured in turns.
type contest struct {
	cores       int // of the server; 0: all, shared with the client
	connections int
	programs    []*program
	requests    [][]byte
}

// run measures every program in each of rounds, the others stopped meanwhile, and returns the rates by
// program and round.
func (c contest) run(t testing.TB, rounds int, span time.Duration) [][]rate {
	t.Helper()
	if c.cores == 1 {
		defer alone(t)()
	}
	for _, p := range c.programs {
		p.pause()
	}
	defer func() {
		for _, p := range c.programs {
			p.resume()
		}
	}()
	measured := make([][]rate, len(c.programs))
	for range rounds {
		for i, p := range c.programs {
			p.resume()
			done := p.profile(t, span)
			measured[i] = append(measured[i], fire(t, p, c.requests[i], c.connections, span))
			done()
			p.pause()
		}
	}
	return measured
}

// ratio is the middle of what one program did, round by round, in units of what another did.
func ratio(one, other []rate, of func(rate) float64) float64 {
	ratios := make([]float64, len(one))
	for i := range one {
		ratios[i] = of(one[i]) / of(other[i])
	}
	return middle(ratios)
}

func speed(r rate) float64 { return r.perSecond }
func cost(r rate) float64  { return float64(r.cpu) }

func middleOf(rates []rate, of func(rate) float64) float64 {
	values := make([]float64, len(rates))
	for i, r := range rates {
		values[i] = of(r)
	}
	return middle(values)
}

func measureMe(t *testing.T, b *bench) {
	for _, cores := range []int{1, 0} {
		core, where := anyCore, fmt.Sprintf("%d cores shared with the client", runtime.NumCPU())
		if cores == 1 {
			core, where = 0, "one core each, the client on the other"
		}
		house := b.gatehouse(t, core, t.TempDir())
		ada := register(t, house.addr, 1)
		ours := request(ada.Access, meQuery)
		bare := startBare(t, core, house.addr, ours)
		c := contest{cores: cores, programs: []*program{house, bare}, requests: [][]byte{ours, ours}}
		if peer := startMercurius(t, core, "memory"); peer != nil {
			c.programs, c.requests = append(c.programs, peer), append(c.requests, request(peer.token, meQuery))
		}
		for _, c.connections = range []int{16, 64} {
			measured := c.run(t, of(b, 5, 3), of(b, 1500*time.Millisecond, 700*time.Millisecond))
			b.tellMe(t, c, measured, where)
		}
		for _, p := range c.programs {
			p.kill()
		}
	}
}

func (b *bench) tellMe(t testing.TB, c contest, measured [][]rate, where string) {
	ours, bare := measured[0], measured[1]
	name := fmt.Sprintf("`me`, %d connections", c.connections)
	b.atLeast(t, name+", of bare net/http", 0.60, ratio(ours, bare, speed), "",
		fmt.Sprintf("%.0f against %.0f req/s, p99 %.1f ms; %s; CPU a request %.0f against %.0f µs (%.2f)",
			middleOf(ours, speed), middleOf(bare, speed), p99(ours), where,
			middleOf(ours, cost)/1000, middleOf(bare, cost)/1000, ratio(bare, ours, cost)))
	if c.connections == 16 && c.cores == 0 {
		b.atLeast(t, name, 8000, middleOf(ours, speed), " req/s", where)
		b.atMost(t, name+", p99", 10, p99(ours), " ms", where)
	}
	if len(measured) == 3 {
		b.atLeast(t, name+", of Mercurius jit", 1.6, ratio(ours, measured[2], speed), "", b.beside(c, measured, 2, where))
	}
}

func p99(rates []rate) float64 {
	return middleOf(rates, func(r rate) float64 { return millis(r.p99) })
}

// beside says how Gatehouse and a peer of it fared.
func (b *bench) beside(c contest, measured [][]rate, peer int, where string) string {
	return fmt.Sprintf("%.0f against %.0f req/s of %s, which is one process; %s; CPU a request %.0f against %.0f µs",
		middleOf(measured[0], speed), middleOf(measured[peer], speed), c.programs[peer].notes, where,
		middleOf(measured[0], cost)/1000, middleOf(measured[peer], cost)/1000)
}

func measureList(t *testing.T, b *bench) {
	for _, cores := range []int{1, 0} {
		core, where := anyCore, fmt.Sprintf("%d cores shared with the client", runtime.NumCPU())
		if cores == 1 {
			core, where = 0, "one core each, the client on the other"
		}
		house := b.gatehouse(t, core, t.TempDir())
		ada := register(t, house.addr, 1)
		fillWithJobs(t, house, ada, 200)
		c := contest{cores: cores, connections: 16, programs: []*program{house}, requests: [][]byte{request(ada.Access, listQuery)}}
		var stores []string
		for _, store := range []string{"sqlite", "memory"} {
			if peer := startMercurius(t, core, store); peer != nil {
				c.programs, c.requests = append(c.programs, peer), append(c.requests, request(peer.token, listQuery))
				stores = append(stores, store)
			}
		}
		measured := c.run(t, of(b, 5, 3), of(b, 1500*time.Millisecond, 700*time.Millisecond))
		for i, store := range stores {
			reads := map[string]string{"sqlite": "better-sqlite3", "memory": "an array in memory"}[store]
			b.atLeast(t, "list of 20 with owners, of Mercurius jit on "+reads, 1.3,
				ratio(measured[0], measured[i+1], speed), "", b.beside(c, measured, i+1, where))
		}
		if len(stores) == 0 {
			b.tell(t, "list of 20 with owners", fmt.Sprintf("%.0f req/s", middleOf(measured[0], speed)), where)
		}
		for _, p := range c.programs {
			p.kill()
		}
	}
}

// fillWithJobs runs n small jobs of who to their end.
func fillWithJobs(t testing.TB, house *program, who person, n int) {
	t.Helper()
	for range n {
		ask(t, house.addr, who.Access, `mutation{processCsv(input:{text:"a,b\n1,2\n"}){job{id}}}`, nil)
	}
	awaitTrue(t, "all jobs have ended", func() bool {
		var got struct{ Jobs struct{ TotalCount int } }
		ask(t, house.addr, who.Access, `{jobs(first:1,filter:{states:[SUCCEEDED]}){totalCount}}`, &got)
		return got.Jobs.TotalCount == n
	})
}

// awaitTrue asks every 20 ms until the answer is yes.
func awaitTrue(t testing.TB, what string, ask func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ask(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it took over a minute until %s", what)
		}
	}
}

// startBare starts net/http with the very answer that Gatehouse gives to request.
func startBare(t testing.TB, core int, addr string, request []byte) *program {
	t.Helper()
	folder := t.TempDir()
	answer := filepath.Join(folder, "answer.http")
	if err := os.WriteFile(answer, raw(t, addr, request), 0o600); err != nil {
		t.Fatal(err)
	}
	build(t, peers, filepath.Join(folder, "bare"), "./bare")
	return start(t, core, filepath.Join(folder, "bare"), answer)
}

// raw returns the whole answer to one request as it came over the wire.
func raw(t testing.TB, addr string, request []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	closing := bytes.Replace(request, []byte("\r\n"), []byte("\r\nConnection: close\r\n"), 1)
	if _, err := c.Write(closing); err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(c); err != nil {
		t.Fatal(err)
	}
	return bytes.Replace(answer.Bytes(), []byte("Connection: close\r\n"), nil, 1)
}

// startMercurius starts the peer in Node, or returns nil, and says so, when it is not installed.
func startMercurius(t testing.TB, core int, store string) *program {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Log("node is not on this machine: no comparison with Mercurius")
		return nil
	}
	needed := "mercurius"
	if store == "sqlite" {
		needed = "better-sqlite3"
	}
	if _, err := os.Stat(filepath.Join(peers, "mercurius/node_modules", needed)); err != nil {
		t.Logf("%s is not installed, see test/peers/run.sh: no comparison with Mercurius on %s", needed, store)
		return nil
	}
	return start(t, core, node, filepath.Join(peers, "mercurius/server.js"), store)
}
