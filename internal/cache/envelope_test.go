package cache

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

type document struct {
	Title string
	Pages []string
}

func TestAnEnvelopeBringsBackItsEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &entry{
			value: document{
				Title: rapid.String().Draw(t, "title"),
				Pages: rapid.SliceOfN(rapid.StringN(0, 2000, 8000), 0, 5).Draw(t, "pages"),
			},
			created: rapid.Int64Range(0, 1<<61).Draw(t, "created"),
		}
		want.soft = want.created + rapid.Int64Range(0, 1<<61).Draw(t, "life")
		if rapid.Bool().Draw(t, "absent") {
			want.absent, want.value = true, nil
		}
		envelope, err := seal[document](jsonCodec[document]{}, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unseal[document](jsonCodec[document]{}, envelope)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		for cut := range min(len(envelope), 64) {
			if _, err := unseal[document](jsonCodec[document]{}, envelope[:cut]); err == nil && cut < headerBytes {
				t.Fatalf("an envelope cut to %d bytes is read", cut)
			}
		}
	})
}

func FuzzUnseal(f *testing.F) {
	for _, e := range []*entry{
		{value: document{Title: "a"}, created: 1, soft: 2},
		{absent: true, created: 1, soft: 2},
		{value: document{Pages: []string{string(make([]byte, 8000))}}, created: 1, soft: 2},
	} {
		envelope, err := seal[document](jsonCodec[document]{}, e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(envelope)
	}
	f.Add([]byte(tombstone))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := unseal[document](jsonCodec[document]{}, data)
		if err == nil && (e.created < 0 || e.soft < e.created || data[0]&^formPinned == formTombstone) {
			t.Fatalf("%x is read as %+v", data, e)
		}
	})
}
