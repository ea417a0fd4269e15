// Package feed lets the source of a stream call its reader, where the reader would else be a goroutine
// that waits on a channel: 8 KiB of stack each, for thousands of streams on which nothing happens.
//
// A reader that can be called says so in the context with which it asks for the stream ([With]). A
// source that can call looks for one ([Accept]) and returns its channel all the same. From then on:
//
//   - The channel reaches the reader as it is, nothing between them, and has room for one value.
//   - After each value the source calls [Reader.Ready], from one goroutine at a time and holding no
//     lock that the reader's context could want. Ready returns when the value has been dealt with,
//     which may take as long as a slow client is borne: that is the source's back pressure.
//   - The source closes the channel after the last value, or soon after the context has ended, and
//     calls Ready one last time. A last value may still wait in the channel then.
//
// Whoever changes the values on their way asks for the stream with a context of [Without]: the source
// then serves its channel as any other.
package feed

import (
	"context"
	"sync/atomic"
)

// Reader deals with the values of one channel.
type Reader interface {
	// Ready takes the value that waits in the channel; closed says that none comes after it, and that
	// perhaps none waits.
	Ready(closed bool)
}

// Offer is a reader that waits to be accepted. The zero value with a Reader is ready.
type Offer struct {
	Reader   Reader
	accepted atomic.Bool
}

// Accepted reports whether a source has promised to call the reader.
func (o *Offer) Accepted() bool { return o.accepted.Load() }

type offerKey struct{}

// With returns ctx with o, which at most one source accepts.
func With(ctx context.Context, o *Offer) context.Context {
	return context.WithValue(ctx, offerKey{}, o)
}

// Without returns ctx with no offer.
func Without(ctx context.Context) context.Context {
	return context.WithValue(ctx, offerKey{}, (*Offer)(nil))
}

// Accept returns the reader that ctx offers, nil when it offers none or another source has it.
func Accept(ctx context.Context) Reader {
	o, _ := ctx.Value(offerKey{}).(*Offer)
	if o == nil || o.accepted.Swap(true) {
		return nil
	}
	return o.Reader
}
