package marshal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"pgregory.net/rapid"

	"gatehouse/internal/blob"
)

func text(m graphql.Marshaler) string {
	var b bytes.Buffer
	m.MarshalGQL(&b)
	return b.String()
}

func TestATimeIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := time.UnixMicro(rapid.Int64Range(0, 250_000_000_000_000_000).Draw(t, "µs")).UTC()
		var written string
		if err := json.Unmarshal([]byte(text(MarshalTime(want))), &written); err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalTime(written)
		if err != nil || !got.Equal(want) {
			t.Fatalf("%s was read as %v, %v", written, got, err)
		}
	})
	if got := text(MarshalTime(time.Time{})); got != "null" {
		t.Errorf("no time is %s", got)
	}
}

func TestWrongScalarsAreRefused(t *testing.T) {
	for _, v := range []any{nil, 7, "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", true} {
		if got, err := UnmarshalTime(v); err == nil {
			t.Errorf("UnmarshalTime(%v) = %v", v, got)
		}
	}
	for _, v := range []any{"x", -1, json.Number("1.5"), json.Number("9007199254740993"), true} {
		if got, err := UnmarshalLong(v); err == nil {
			t.Errorf("UnmarshalLong(%v) = %v", v, got)
		}
	}
	for _, v := range []any{nil, "x", map[string]any{}, &blob.Upload{}} {
		if got, err := UnmarshalUpload(v); err == nil {
			t.Errorf("UnmarshalUpload(%v) = %v", v, got)
		}
	}
}

func TestAListKeepsItsOrderAndAPanicBlanksOneElement(t *testing.T) {
	recovered := func(context.Context, any) error { return errors.New("recovered") }
	ctx := graphql.WithResponseContext(t.Context(), graphql.DefaultErrorPresenter, recovered)
	ctx = graphql.WithFieldContext(ctx, &graphql.FieldContext{})
	got := text(List(ctx, 4, func(ctx context.Context, i int) graphql.Marshaler {
		if i == 2 {
			panic("element 2")
		}
		return MarshalLong(int64(*graphql.GetFieldContext(ctx).Index))
	}))
	if got != "[0,1,null,3]" {
		t.Errorf("list = %s", got)
	}
	if errs := graphql.GetErrors(ctx); len(errs) != 1 || errs[0].Path.String() != "[2]" {
		t.Errorf("errors = %v", errs)
	}
}
