package main

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"gatehouse/test/services"
)

// proxy stands before Redis and can lose what it answers.
type proxy struct {
	addr     string // HOST:PORT
	to       string
	listener net.Listener
	losing   atomic.Bool
	lost     atomic.Int64 // replies that were dropped

	mu    sync.Mutex
	conns map[net.Conn]struct{} // those of the clients
	all   sync.WaitGroup
}

// loseOneOf is how many pieces of replies there are for each that is dropped while replies are.
const loseOneOf = 8

func startProxy(h services.Host, to string) *proxy {
	h.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatalf("listen before Redis: %v", err)
	}
	p := &proxy{addr: l.Addr().String(), to: to, listener: l, conns: map[net.Conn]struct{}{}}
	p.all.Go(p.accept)
	h.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.all.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(client) })
	}
}

// serve joins a client with Redis until one of them ends, or a reply is dropped.
func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	p.conns[client] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, client)
	}()
	redis, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer redis.Close()
	p.all.Go(func() {
		p.pass(redis, client, false)
		_ = redis.Close()
	})
	p.pass(client, redis, true)
}

// pass copies until one end closes. Of replies it may drop a piece: then Redis has done what it was asked, the
// client never hears of it, and the connection ends.
func (p *proxy) pass(to, from net.Conn, replies bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if replies && p.losing.Load() && n > 0 && rand.IntN(loseOneOf) == 0 {
			p.lost.Add(1)
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}
