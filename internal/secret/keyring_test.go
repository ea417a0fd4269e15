package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/internal/secret"
)

func ring(t testing.TB, current secret.Key, older ...secret.Key) *secret.Keyring {
	t.Helper()
	r, err := secret.NewKeyring(current, older...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestASealedValueOpensOnlyWhereItWasSealedFor(t *testing.T) {
	r := ring(t, secret.NewKey())
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		place := rapid.SliceOf(rapid.Byte()).Draw(t, "place")
		other := rapid.SliceOf(rapid.Byte()).Draw(t, "other")
		sealed, err := r.Seal(plain, place)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(plain)+secret.Overhead {
			t.Fatalf("sealed %d bytes into %d", len(plain), len(sealed))
		}
		opened, err := r.Open(sealed, place)
		if err != nil || !bytes.Equal(opened, plain) {
			t.Fatalf("opened %x, %v; want %x", opened, err, plain)
		}
		if !bytes.Equal(place, other) {
			if opened, err := r.Open(sealed, other); !errors.Is(err, secret.ErrTampered) {
				t.Fatalf("opened for another place: %x, %v", opened, err)
			}
		}
	})
}

func TestAValueChangedInAnyBitDoesNotOpen(t *testing.T) {
	r := ring(t, secret.NewKey())
	sealed, _ := r.Seal([]byte("JBSWY3DPEHPK3PXP"), []byte("factor/1"))
	for bit := range len(sealed) * 8 {
		changed := bytes.Clone(sealed)
		changed[bit/8] ^= 1 << (bit % 8)
		if opened, err := r.Open(changed, []byte("factor/1")); err == nil {
			t.Fatalf("bit %d changed, yet opened %q", bit, opened)
		}
	}
	for length := range sealed {
		if _, err := r.Open(sealed[:length], []byte("factor/1")); err == nil {
			t.Fatalf("cut to %d bytes, yet opened", length)
		}
	}
}

func TestTheSameValueSealsDifferentlyEachTime(t *testing.T) {
	r := ring(t, secret.NewKey())
	first, _ := r.Seal([]byte("same"), nil)
	second, _ := r.Seal([]byte("same"), nil)
	if bytes.Equal(first, second) {
		t.Fatal("two seals of one value are equal: the nonce does not change")
	}
}

func TestAfterARotationOldValuesOpenAndAreStale(t *testing.T) {
	old, fresh := secret.NewKey(), secret.NewKey()
	sealed, _ := ring(t, old).Seal([]byte("value"), nil)
	rotated := ring(t, fresh, old)
	if opened, err := rotated.Open(sealed, nil); err != nil || string(opened) != "value" {
		t.Fatalf("opened %q, %v", opened, err)
	}
	if !rotated.Stale(sealed) {
		t.Error("a value under the older key is not stale")
	}
	again, _ := rotated.Seal([]byte("value"), nil)
	if rotated.Stale(again) {
		t.Error("a value under the current key is stale")
	}
	if _, err := ring(t, fresh).Open(sealed, nil); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("without the older key: %v, want ErrUnknownKey", err)
	}
}

func TestAKeyringRefusesWhatIsNoRotation(t *testing.T) {
	key := secret.NewKey()
	many := make([]secret.Key, secret.MaxKeys)
	for i := range many {
		many[i] = secret.NewKey()
	}
	for name, build := range map[string]func() (*secret.Keyring, error){
		"twice": func() (*secret.Keyring, error) { return secret.NewKeyring(key, key) },
		"zeros": func() (*secret.Keyring, error) { return secret.NewKeyring(secret.Key{}) },
		"many":  func() (*secret.Keyring, error) { return secret.NewKeyring(key, many...) },
	} {
		if _, err := build(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAValueAboveTheBoundIsRefused(t *testing.T) {
	if _, err := ring(t, secret.NewKey()).Seal(make([]byte, secret.MaxPlaintext+1), nil); !errors.Is(err, secret.ErrTooLong) {
		t.Fatalf("got %v, want ErrTooLong", err)
	}
}

func TestAKeyReachesNoLog(t *testing.T) {
	key := secret.NewKey()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "key", key)
	encoded, _ := json.Marshal(map[string]any{"key": key})
	for _, shown := range []string{
		fmt.Sprint(key), fmt.Sprintf("%s %v %+v %#v", key, key, key, key), log.String(), string(encoded),
	} {
		if strings.Contains(shown, key.Text()) || !strings.Contains(shown, "[secret key]") {
			t.Errorf("the key shows: %q", shown)
		}
	}
}

func TestAKeyIsReadBackFromItsText(t *testing.T) {
	key := secret.NewKey()
	for _, text := range []string{key.Text(), key.Text() + "=", " " + key.Text() + "\n"} {
		if got, err := secret.ParseKey(text); err != nil || got != key {
			t.Errorf("%q is read as another key: %v", text, err)
		}
	}
	for _, text := range []string{"", "short", key.Text() + "AAAA", strings.Repeat("!", 43)} {
		if _, err := secret.ParseKey(text); !errors.Is(err, secret.ErrKey) {
			t.Errorf("%q: got %v, want ErrKey", text, err)
		}
	}
}
