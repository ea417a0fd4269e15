package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse/account/otc"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Purpose is what a mailed proof is good for. It stands in links, as the last part of our own pages'
// address and as {purpose} of Options.LinkURL.
type Purpose = otc.Purpose

// The purposes.
const (
	ToVerifyEmail   Purpose = "verify-email"   // 24 hours, link and code
	ToResetPassword Purpose = "reset-password" // 60 minutes
	ToChangeEmail   Purpose = "change-email"   // 60 minutes, link and code
	ToUndoEmail     Purpose = "undo-email"     // 7 days, one for each address that was left
	ToDisown        Purpose = "not-me"         // 7 days, one for each address that was told and kind of mail
	ToLogIn         Purpose = "login"          // 10 minutes, link and code
	ToKeepAccount   Purpose = "keep-account"   // as long as the account waits for its deletion
	ToFetchExport   Purpose = "data-export"    // 24 hours, as often as one likes
)

// How long proofs are good.
const (
	verifyLife = 24 * time.Hour
	resetLife  = time.Hour
	loginLife  = 10 * time.Minute
	remorse    = 7 * 24 * time.Hour // in which a change can be undone or disowned
	exportLife = 24 * time.Hour
)

// maxTries is how many codes are looked at for one proof: a guess succeeds once in 200,000 proofs.
const maxTries = 5

// terms says for how long a proof of each purpose is good.
var terms = map[Purpose]time.Duration{
	ToVerifyEmail: verifyLife, ToResetPassword: resetLife, ToChangeEmail: resetLife, ToUndoEmail: remorse,
	ToDisown: remorse, ToLogIn: loginLife, ToKeepAccount: grace, ToFetchExport: exportLife,
}

// offersCode reports whether a proof of purpose can also be given by typing six digits.
func offersCode(purpose Purpose) bool {
	return purpose == ToVerifyEmail || purpose == ToChangeEmail || purpose == ToLogIn
}

// Proof is a row of proofs that was claimed or looked at: somebody has shown that a mail reached them.
type Proof struct {
	ID        string // "prf_…"
	User      viewer.UserID
	Purpose   Purpose
	ExpiresAt time.Time
	Detail    ProofDetail

	slot      []byte
	codeHash  []byte
	sealed    []byte
	createdAt time.Time
	usedAt    time.Time
}

// ProofDetail is what a proof remembers, sealed.
type ProofDetail struct {
	Email string       `json:"email"`          // where the proof was sent; for ToUndoEmail, the address to put back
	Mode  session.Mode `json:"mode,omitempty"` // of ToLogIn: how whoever asked keeps their tokens
	Job   string       `json:"job,omitempty"`  // of ToFetchExport
}

// issued is a proof's secrets on their way into a mail.
type issued struct {
	link    string
	code    string
	minutes int
}

// anySlot is the slot of purposes of which the newest proof replaces all older ones.
var anySlot = []byte{}

// issueTx makes a proof for user and forgets an older one of the same purpose and slot.
func (a *Accounts) issueTx(ctx context.Context, tx *store.Tx, user viewer.UserID, purpose Purpose, slot []byte, detail ProofDetail) (issued, error) {
	id, now := store.NewID[string]("prf"), a.now()
	secret, linkHash := otc.NewLink(purpose)
	out := issued{link: a.link(purpose, secret), minutes: int(terms[purpose] / time.Minute)}
	var codeHash []byte
	if offersCode(purpose) {
		out.code = otc.New()
		digest := otc.Hash(a.codes, purpose, otc.Challenge(id), out.code)
		codeHash = digest[:]
	}
	plain, err := json.Marshal(detail)
	if err != nil {
		return issued{}, fmt.Errorf("issue proof: %w", err)
	}
	sealed, err := a.ring.Seal(plain, proofPlace(id))
	if err != nil {
		return issued{}, fmt.Errorf("issue proof: %w", err)
	}
	_, err = tx.Exec(ctx, insertProof, id, user, purpose, slot, linkHash[:], codeHash, sealed,
		store.At(now), store.At(now.Add(terms[purpose])))
	if err != nil {
		return issued{}, fmt.Errorf("issue proof: %w", err)
	}
	return out, nil
}

// claimLinkTx uses the proof of a link up: of two callers at once, one gets it. Faults: TOKEN_INVALID,
// TOKEN_EXPIRED.
func (a *Accounts) claimLinkTx(ctx context.Context, tx *store.Tx, purpose Purpose, secret string) (Proof, error) {
	hash, ok := otc.HashLink(purpose, secret)
	if !ok {
		return Proof{}, badToken()
	}
	p, err := store.One(ctx, tx, claimByLink, scanProof, store.At(a.now()), hash[:], purpose, store.At(a.now()))
	if errors.Is(err, store.ErrNotFound) {
		if _, err := a.findLink(ctx, tx, purpose, secret); err != nil {
			return Proof{}, err
		}
		return Proof{}, badToken() // somebody else was faster
	}
	if err != nil {
		return Proof{}, fmt.Errorf("claim proof: %w", err)
	}
	return a.openProof(p)
}

// findLink returns the proof of a link that is still good, and leaves it so. Faults: TOKEN_INVALID,
// TOKEN_EXPIRED.
func (a *Accounts) findLink(ctx context.Context, r store.Reader, purpose Purpose, secret string) (Proof, error) {
	hash, ok := otc.HashLink(purpose, secret)
	if !ok {
		return Proof{}, badToken()
	}
	p, err := store.One(ctx, r, selectByLink, scanProof, hash[:], purpose)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Proof{}, badToken()
	case err != nil:
		return Proof{}, fmt.Errorf("find proof: %w", err)
	case !p.usedAt.IsZero():
		return Proof{}, badToken()
	case !a.now().Before(p.ExpiresAt):
		return Proof{}, fault.New(fault.TokenExpired, "token", "This link has expired. Ask for a new one.")
	}
	return a.openProof(p)
}

// claimCodeTx uses the newest proof of user and purpose up if code is its code. Each look counts,
// also when tx goes on to say no; so the caller commits.
func (a *Accounts) claimCodeTx(ctx context.Context, tx *store.Tx, user viewer.UserID, purpose Purpose, code string) (p Proof, right bool, err error) {
	now := store.At(a.now())
	p, err = store.One(ctx, tx, countTry, scanProof, user, purpose, anySlot, now, maxTries)
	if errors.Is(err, store.ErrNotFound) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("count try: %w", err)
	}
	if len(p.codeHash) != len(otc.Digest{}) || !otc.Check(a.codes, otc.Digest(p.codeHash), purpose, otc.Challenge(p.ID), code) {
		return p, false, nil
	}
	if _, err := tx.Exec(ctx, useProof, now, p.ID); err != nil {
		return p, false, fmt.Errorf("use proof: %w", err)
	}
	p, err = a.openProof(p)
	return p, err == nil, err
}

// voidTx makes every proof of user worthless that opens the account: the password or the address has
// changed since they were mailed.
func (a *Accounts) voidTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	if _, err := tx.Exec(ctx, voidProofs, user, ToResetPassword, ToLogIn, ToChangeEmail); err != nil {
		return fmt.Errorf("void proofs of %s: %w", user, err)
	}
	return nil
}

func (a *Accounts) openProof(p Proof) (Proof, error) {
	plain, err := a.ring.Open(p.sealed, proofPlace(p.ID))
	if err != nil {
		return Proof{}, fmt.Errorf("open proof %s: %w", p.ID, err)
	}
	if err := json.Unmarshal(plain, &p.Detail); err != nil {
		return Proof{}, fmt.Errorf("open proof %s: %w", p.ID, err)
	}
	return p, nil
}

// proofPlace names the row and column that a sealed detail belongs to.
func proofPlace(id string) []byte { return []byte("proofs/" + id + "/sealed") }

// badToken is the one answer for a link that was never ours, was used, or was replaced by a newer one.
func badToken() error {
	return fault.New(fault.TokenInvalid, "token", "This link is not valid, or no longer. Ask for a new one.")
}

// badCode is the one answer for a wrong code, one that is too old or was tried too often, and an
// address without an account.
func badCode() error {
	return fault.New(fault.TokenInvalid, "code", "The code is wrong, or no longer valid. Ask for a new one.")
}
