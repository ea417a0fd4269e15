package page

import (
	"testing"

	"pgregory.net/rapid"

	"gatehouse/internal/fault"
)

func TestACursorIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Cursor{Key: rapid.Int64().Draw(t, "key"), ID: rapid.StringMatching(`[a-z]{3}_[0-9a-z]{26}`).Draw(t, "id")}
		got, ok := Parse(want.String())
		if !ok || got != want {
			t.Fatalf("Parse(%q) = %+v, %v; want %+v", want.String(), got, ok, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(Cursor{Key: 7, ID: "job_x"}.String())
	f.Add("")
	f.Add("MSA3IGpvYl94")
	f.Fuzz(func(t *testing.T, text string) {
		if c, ok := Parse(text); ok && c.String() != text {
			t.Errorf("%q and %q are two names for one place", text, c.String())
		}
	})
}

func TestAWrongWindowIsRefused(t *testing.T) {
	n := func(i int) *int { return &i }
	s := func(s string) *string { return &s }
	for name, r := range map[string]Request{
		"both ends":       {First: n(1), Last: n(1)},
		"no entries":      {First: n(0)},
		"too many":        {Last: n(MaxSize + 1)},
		"negative":        {First: n(-3)},
		"forged after":    {After: s("job_1")},
		"forged before":   {Before: s("eyJrIjoxfQ")},
		"oversize cursor": {After: s(string(make([]byte, 10_000)))},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := r.Window(); !fault.Is(err, fault.BadUserInput) {
				t.Errorf("Window() = %v, want BAD_USER_INPUT", err)
			}
		})
	}
}

func TestCutKnowsWhatLiesBeyond(t *testing.T) {
	c := &Cursor{ID: "x"}
	for _, k := range []struct {
		name       string
		w          Window
		rows       []int
		want       []int
		next, prev bool
	}{
		{"the first of several pages", Window{Size: 2}, []int{1, 2, 3}, []int{1, 2}, true, false},
		{"the last page forward", Window{Size: 2, After: c}, []int{3}, []int{3}, false, true},
		{"the last page backward", Window{Size: 2, Backward: true}, []int{9, 8, 7}, []int{8, 9}, false, true},
		{"the first page backward", Window{Size: 2, Backward: true, Before: c}, []int{2, 1}, []int{1, 2}, true, false},
		{"an empty list", Window{Size: 2}, nil, nil, false, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			p := Cut(k.w, k.rows, 9)
			if len(p.Items) != len(k.want) || p.HasNext != k.next || p.HasPrev != k.prev {
				t.Fatalf("Cut = %+v", p)
			}
			for i := range k.want {
				if p.Items[i] != k.want[i] {
					t.Errorf("Cut = %v, want %v", p.Items, k.want)
				}
			}
		})
	}
}
