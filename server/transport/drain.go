package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/gqlerror"
)

// member is an open socket or event stream.
type member interface {
	// goodbye ends the member after a while, telling the client to come back.
	goodbye(after time.Duration)
	// cut ends it now, telling nobody.
	cut()
}

// register knows the open sockets and streams. The zero value is ready.
type register struct {
	mu       sync.Mutex
	members  map[member]string // with the peer they belong to
	peers    map[string]int    // how many a peer has; "" is none
	draining bool
	empty    chan struct{} // closed once draining and empty
}

// admission is whether one more may come.
type admission int

const (
	welcome admission = iota
	full              // the handler drains, or as many are open as may be
	greedy            // the peer has as many as it may
)

// join takes m in, of a peer that may have mostOfPeer; "" is no peer and has no bound of its own.
func (r *register) join(m member, most int, peer string, mostOfPeer int) admission {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining || len(r.members) >= most:
		return full
	case peer != "" && r.peers[peer] >= mostOfPeer:
		return greedy
	}
	if r.members == nil {
		r.members, r.peers = make(map[member]string), make(map[string]int)
	}
	r.members[m] = peer
	if peer != "" {
		r.peers[peer]++
	}
	return welcome
}

func (r *register) leave(m member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if peer := r.members[m]; peer != "" {
		if r.peers[peer]--; r.peers[peer] == 0 {
			delete(r.peers, peer)
		}
	}
	delete(r.members, m)
	if r.draining && len(r.members) == 0 {
		close(r.empty)
	}
}

// shut lets nobody join any more; empty is closed when the last has left.
func (r *register) shut() (empty <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.draining {
		r.draining, r.empty = true, make(chan struct{})
		if len(r.members) == 0 {
			close(r.empty)
		}
	}
	return r.empty
}

func (r *register) all() []member {
	r.mu.Lock()
	defer r.mu.Unlock()
	members := make([]member, 0, len(r.members))
	for m := range r.members {
		members = append(members, m)
	}
	return members
}

// Drain takes no more sockets and event streams (they get 503) and ends the open ones: sockets with
// code 1012, streams with a complete event, spread over Options.DrainJitter or half the time ctx has
// left. It returns when the last has ended; when ctx ends first it cuts the rest and says so. Plain
// requests are left to http.Server.Shutdown. It may be called again.
func (h *Handler) Drain(ctx context.Context) error {
	empty := h.live.shut()
	spread := h.options.DrainJitter
	if deadline, ok := ctx.Deadline(); ok {
		spread = max(1, min(spread, time.Until(deadline)/2))
	}
	for _, m := range h.live.all() {
		m.goodbye(rand.N(spread))
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	left := h.live.all()
	for _, m := range left {
		m.cut()
	}
	return fmt.Errorf("drain: cut %d open connections: %w", len(left), ctx.Err())
}

// join lets m in, or answers the request that it may not come.
func (e *exchange) join(m member) bool {
	o := e.h.options
	peer := ""
	if o.Peer != nil {
		peer = o.Peer(e.r)
	}
	switch e.h.live.join(m, o.MaxStreams, peer, o.MaxStreamsPerPeer) {
	case full:
		e.goingAway()
		return false
	case greedy:
		e.w.Header().Set("Retry-After", "1")
		most := int64(o.MaxStreamsPerPeer)
		e.fail(&failure{status: http.StatusTooManyRequests, errs: gqlerror.List{limited("streamsPerAddress", most, most+1, "address")}})
		return false
	}
	return true
}

// goingAway answers those who come while the handler drains or is full.
func (e *exchange) goingAway() {
	e.w.Header().Set("Retry-After", "1")
	e.fail(&failure{status: http.StatusServiceUnavailable, errs: gqlerror.List{requestError(codeInternal, "This server takes no more connections: come back in a second.")}})
}
