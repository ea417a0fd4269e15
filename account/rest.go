package account

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Sealed lists the sealed columns of this package, and its letters, wishes and mails on their way. Ceremonies of
// passkeys are left out, as are challenges, flows and exchanges of package login: they are good for
// minutes, and who began one begins anew.
func Sealed() []secret.Column {
	at := func(column string) func(id string) []byte {
		return func(id string) []byte { return place(viewer.UserID(id), column) }
	}
	factor := func(column string) func(id string) []byte {
		return func(id string) []byte { return factorPlace(FactorID(id), column) }
	}
	identity := func(column string) func(id string) []byte {
		return func(id string) []byte { return identityPlace(IdentityID(id), column) }
	}
	return []secret.Column{
		{Table: "users", ID: "id", Name: "email_sealed", Place: at("email")},
		{Table: "users", ID: "id", Name: "name_sealed", Place: at("name")},
		{Table: "proofs", ID: "id", Name: "sealed", Place: proofPlace},
		{Table: "factors", ID: "id", Name: "sealed", Place: factor("sealed")},
		{Table: "factors", ID: "id", Name: "name_sealed", Place: factor("name")},
		{Table: "identities", ID: "id", Name: "profile_sealed", Place: identity("profile")},
		{Table: "identities", ID: "id", Name: "tokens_sealed", Place: identity("tokens")},
		{
			Table: "jobs", ID: "id", Name: "input", Where: "kind = '" + DeliverMessage + "'", Text: true,
			Place:  func(string) []byte { return []byte(letterPlace) },
			Inside: resealLetter,
		},
		{
			Table: "jobs", ID: "id", Name: "input", Where: "kind = '" + SendProof + "'", Text: true,
			Place:  func(string) []byte { return []byte(wishPlace) },
			Inside: resealWish,
		},
		{
			Table: "jobs", ID: "id", Name: "input", Where: "kind = '" + SendEmail + "'", Text: true,
			Place:  func(string) []byte { return []byte(emailPlace) },
			Inside: resealEmail,
		},
		{
			Table: "jobs", ID: "id", Name: "result", Where: "kind = '" + SendEmail + "' AND result IS NOT NULL", Text: true,
			Place:  deliveryPlace,
			Inside: resealReport,
		},
	}
}

func resealLetter(stored []byte, reseal func([]byte) ([]byte, error)) ([]byte, error) {
	var letter Letter
	if err := json.Unmarshal(stored, &letter); err != nil {
		return nil, fmt.Errorf("read letter: %w", err)
	}
	var err error
	if letter.Sealed, err = reseal(letter.Sealed); err != nil {
		return nil, err
	}
	return json.Marshal(letter)
}

// ErrNoIndex means that no key finds the accounts of a database by their addresses.
var ErrNoIndex = errors.New("none of the keys finds the accounts")

// WhichIndex returns which of candidates made the index of addresses in db, -1 when there are no
// accounts yet. It is for databases older than the table of deployment keys, whose index key was made
// from the secret key. Its error is ErrNoIndex when none did.
func WhichIndex(ctx context.Context, db *store.DB, ring *secret.Keyring, candidates []secret.Key) (int, error) {
	type indexed struct {
		id            viewer.UserID
		sealed, index []byte
	}
	one, err := store.One(ctx, db, selectAnyIndex, func(scan store.Scan) (i indexed, err error) {
		err = scan(&i.id, &i.sealed, &i.index)
		return i, err
	})
	if errors.Is(err, store.ErrNotFound) {
		return -1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find index key: %w", err)
	}
	email, err := ring.Open(one.sealed, place(one.id, "email"))
	if err != nil {
		return 0, fmt.Errorf("find index key: open account %s: %w", one.id, err)
	}
	for i, candidate := range candidates {
		key, err := indexKey(candidate)
		if err != nil {
			return 0, err
		}
		if bytes.Equal(indexOf(key, string(email)), one.index) {
			return i, nil
		}
	}
	return 0, ErrNoIndex
}

// indexKey is the HMAC key of the index of addresses.
func indexKey(root secret.Key) ([]byte, error) {
	return hkdf.Key(sha256.New, root[:], nil, "gatehouse e-mail index", sha256.Size)
}

func resealWish(stored []byte, reseal func([]byte) ([]byte, error)) ([]byte, error) {
	var request ProofRequest
	if err := json.Unmarshal(stored, &request); err != nil {
		return nil, fmt.Errorf("read request of a proof: %w", err)
	}
	var err error
	if request.Sealed, err = reseal(request.Sealed); err != nil {
		return nil, err
	}
	return json.Marshal(request)
}

func resealEmail(stored []byte, reseal func([]byte) ([]byte, error)) ([]byte, error) {
	var args EmailArgs
	if err := json.Unmarshal(stored, &args); err != nil {
		return nil, fmt.Errorf("read e-mail: %w", err)
	}
	var err error
	if args.Sealed, err = reseal(args.Sealed); err != nil {
		return nil, err
	}
	return json.Marshal(args)
}

func resealReport(stored []byte, reseal func([]byte) ([]byte, error)) ([]byte, error) {
	var report DeliveryReport
	if err := json.Unmarshal(stored, &report); err != nil {
		return nil, fmt.Errorf("read delivery report: %w", err)
	}
	var err error
	if report.Sealed, err = reseal(report.Sealed); err != nil {
		return nil, err
	}
	return json.Marshal(report)
}
