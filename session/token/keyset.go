package token

import (
	"errors"
	"fmt"
	"slices"
)

// MaxKeys is how many keys a set holds at most: current, next and the retired ones whose tokens may
// still be out.
const MaxKeys = 16

// KeySet is the keys of one issuer at one moment: it signs with one and verifies with all. It does
// not change; a rotation makes a new set.
//
// A rotation goes in three steps, each a set of its own, with the time between them that verifiers
// take to read the JWKS again and that tokens live: publish the next key; make it current and retire
// the current one; drop the retired one.
type KeySet struct {
	current SigningKey
	public  []PublicKey // current, next, retired
	byID    map[string]PublicKey
}

// NewKeySet returns a set that signs with current. next may be nil. The order of retired is kept in
// the JWKS. A key given twice is an error.
func NewKeySet(current SigningKey, next *SigningKey, retired ...PublicKey) (KeySet, error) {
	if current.private == nil {
		return KeySet{}, errors.New("make key set: no current key")
	}
	public := []PublicKey{current.Public()}
	if next != nil {
		public = append(public, next.Public())
	}
	public = append(public, retired...)
	if len(public) > MaxKeys {
		return KeySet{}, fmt.Errorf("make key set: %d keys, at most %d", len(public), MaxKeys)
	}
	byID := make(map[string]PublicKey, len(public))
	for _, key := range public {
		if key.public == nil {
			return KeySet{}, errors.New("make key set: an empty key")
		}
		if _, twice := byID[key.ID]; twice {
			return KeySet{}, fmt.Errorf("make key set: key %s twice", key.ID)
		}
		byID[key.ID] = key
	}
	return KeySet{current: current, public: public, byID: byID}, nil
}

// Current returns the key that signs.
func (s KeySet) Current() SigningKey { return s.current }

// PublicKeys returns all keys of the set: current, next, retired.
func (s KeySet) PublicKeys() []PublicKey { return slices.Clone(s.public) }

// Algorithms returns what the set verifies, for the discovery document, without repetition.
func (s KeySet) Algorithms() []Algorithm {
	var names []Algorithm
	for _, key := range s.public {
		if !slices.Contains(names, key.Algorithm) {
			names = append(names, key.Algorithm)
		}
	}
	return names
}

// algorithms is Algorithms for the parser, never empty: an empty list would mean "any".
func (s KeySet) algorithms() []string {
	names := []string{}
	for _, algorithm := range s.Algorithms() {
		names = append(names, string(algorithm))
	}
	return names
}
