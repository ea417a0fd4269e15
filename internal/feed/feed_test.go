package feed

import (
	"context"
	"testing"
)

type reader struct{}

func (reader) Ready(bool) {}

func TestAnOfferIsAcceptedOnce(t *testing.T) {
	o := &Offer{Reader: reader{}}
	ctx := With(context.Background(), o)
	if o.Accepted() {
		t.Error("an offer that nobody has seen is accepted")
	}
	if Accept(ctx) == nil || !o.Accepted() {
		t.Error("the first source does not get the reader")
	}
	if Accept(ctx) != nil {
		t.Error("the second source gets the reader too")
	}
}

func TestAContextWithoutAnOfferHasNoReader(t *testing.T) {
	o := &Offer{Reader: reader{}}
	for name, ctx := range map[string]context.Context{
		"none was made":     context.Background(),
		"it was taken back": Without(With(context.Background(), o)),
	} {
		if Accept(ctx) != nil || o.Accepted() {
			t.Errorf("%s: got a reader", name)
		}
	}
}
