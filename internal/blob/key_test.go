package blob

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestAKeyComesBackFromItsText(t *testing.T) {
	for range 100 {
		key := newKey()
		got, err := ParseKey(key.String())
		if err != nil || got != key {
			t.Fatalf("ParseKey(%s) = %s, %v", key, got, err)
		}
		encoded, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		var decoded Key
		if err := json.Unmarshal(encoded, &decoded); err != nil || decoded != key {
			t.Fatalf("%s from JSON is %s, %v", encoded, decoded, err)
		}
	}
}

func TestWhatIsNoKeyIsRefused(t *testing.T) {
	good := Key{}.String()
	for _, text := range []string{
		"", good[1:], good + "a", strings.ToUpper(good), strings.Repeat("b", 26), "../../../../../../etc/passw", "..%2f..%2f..%2f..%2f..%2fetc",
		good[:24] + "\r\n", good[:25] + "1", strings.Repeat("../", 9)[:26], strings.Repeat("\x00", 26), good[:13] + "/" + good[:12],
	} {
		if key, err := ParseKey(text); !errors.Is(err, ErrKey) {
			t.Errorf("ParseKey(%q) = %s, %v; want %v", text, key, err, ErrKey)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(newKey().String())
	f.Add("../../../../../../etc/passwd")
	s := &Store{folder: "/blobs"}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseKey(text)
		if err != nil {
			return
		}
		if key.String() != text {
			t.Errorf("%q and %q are one key", text, key)
		}
		if path := s.path(key); filepath.Clean(path) != path || !strings.HasPrefix(path, filepath.Join("/blobs", "objects")) {
			t.Errorf("%q leads to %s", text, path)
		}
	})
}
