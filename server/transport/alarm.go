package transport

import "time"

// alarm is the one timer of a socket: it rings at the earliest of several times. Its owner guards it.
type alarm struct {
	timer   *time.Timer
	every   time.Duration
	init    time.Time // the zero time never comes
	expiry  time.Time
	ping    time.Time
	goodbye time.Time
}

// ringing says which times have come.
type ringing struct{ init, expiry, ping, goodbye bool }

func (a *alarm) start(ring func(), now time.Time, initWithin, pingEvery time.Duration) {
	a.every = pingEvery
	a.init, a.ping = now.Add(initWithin), now.Add(pingEvery)
	a.timer = time.AfterFunc(a.next().Sub(now), ring)
	if !a.goodbye.IsZero() { // set before the handshake was through
		a.arm(now)
	}
}

// set changes one of the times and rings for it when it is the next.
func (a *alarm) set(which *time.Time, at, now time.Time) {
	*which = at
	if a.timer != nil {
		a.arm(now)
	}
}

func (a *alarm) next() time.Time {
	next := a.ping
	for _, at := range []time.Time{a.init, a.expiry, a.goodbye} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// due says what has come by now, and sets the next ping.
func (a *alarm) due(now time.Time) ringing {
	come := func(at time.Time) bool { return !at.IsZero() && !at.After(now) }
	rings := ringing{come(a.init), come(a.expiry), come(a.ping), come(a.goodbye)}
	if rings.ping {
		a.ping = now.Add(a.every)
	}
	return rings
}

// arm sets the timer for the next time after now.
func (a *alarm) arm(now time.Time) { a.timer.Reset(max(0, a.next().Sub(now))) }

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
