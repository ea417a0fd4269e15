package secret

import (
	"encoding/hex"
	"fmt"
)

// Column is a column of sealed values, as [Keyring] owners tell whoever seals all of them anew. Names
// are ours, never a client's.
type Column struct {
	Table string
	ID    string // the column that names a row, and by which rows are walked
	Name  string // of the column
	Where string // which rows, as a condition; "": all
	Text  bool   // the database holds it as text

	// Place is the additional data of the value in the row id.
	Place func(id string) []byte
	// Inside finds the sealed value in what is stored and puts what reseal gives in its place; nil: what
	// is stored is the sealed value.
	Inside func(stored []byte, reseal func(sealed []byte) ([]byte, error)) ([]byte, error)
}

// Reseal returns what is to be stored in the row id in place of stored: sealed with the current key of
// r. changed is false when stored is so already.
func (c Column) Reseal(r *Keyring, id string, stored []byte) (fresh []byte, changed bool, err error) {
	reseal := func(sealed []byte) ([]byte, error) {
		if !r.Stale(sealed) {
			return sealed, nil
		}
		plain, err := r.Open(sealed, c.Place(id))
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		changed = true
		return r.Seal(plain, c.Place(id))
	}
	if c.Inside != nil {
		fresh, err = c.Inside(stored, reseal)
	} else {
		fresh, err = reseal(stored)
	}
	if err != nil {
		return nil, false, fmt.Errorf("seal %s.%s of %s anew: %w", c.Table, c.Name, id, err)
	}
	return fresh, changed, nil
}

// Current names the key that seals, and tells nothing about it.
func (r *Keyring) Current() string { return hex.EncodeToString(r.current[:]) }
