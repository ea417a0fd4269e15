package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
)

// tokenClaim is how long whoever refreshes a provider's tokens has the row to themselves.
const tokenClaim = 30 * time.Second

// TokenClaim is the right to replace the tokens of one identity, for 30 s.
type TokenClaim struct {
	id    IdentityID
	until time.Time
}

// ProviderTokens returns the tokens of an identity as they were given to LinkTx, nil when there are
// none. The caller has checked who asks. Fault: NOT_FOUND.
func (a *Accounts) ProviderTokens(ctx context.Context, id IdentityID) ([]byte, error) {
	return a.providerTokens(ctx, a.db, id)
}

// ProviderTokensTx is ProviderTokens inside tx.
func (a *Accounts) ProviderTokensTx(ctx context.Context, tx *store.Tx, id IdentityID) ([]byte, error) {
	return a.providerTokens(ctx, tx, id)
}

func (a *Accounts) providerTokens(ctx context.Context, from store.Reader, id IdentityID) ([]byte, error) {
	sealed, err := store.One(ctx, from, selectTokens, store.Value[[]byte], id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fault.Missing("identity")
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens of %s: %w", id, err)
	}
	if len(sealed) == 0 {
		return nil, nil
	}
	tokens, err := a.ring.Open(sealed, identityPlace(id, "tokens"))
	if err != nil {
		return nil, fmt.Errorf("open tokens of %s: %w", id, err)
	}
	return tokens, nil
}

// ClaimTokens takes the tokens of an identity for the caller alone, on every server: many providers
// accept a refresh token once. False means that somebody else has them; theirs end after 30 s.
func (a *Accounts) ClaimTokens(ctx context.Context, id IdentityID) (TokenClaim, bool, error) {
	now := a.now()
	claim := TokenClaim{id, now.Add(tokenClaim)}
	var claimed int64
	err := a.db.Update(ctx, func(tx *store.Tx) (err error) {
		claimed, err = tx.Exec(ctx, claimTokens, store.At(claim.until), id, store.At(now))
		return err
	})
	if err != nil {
		return TokenClaim{}, false, fmt.Errorf("claim tokens of %s: %w", id, err)
	}
	return claim, claimed == 1, nil
}

// EndClaim gives a claim back, and keeps tokens in place of the old ones unless they are nil. A claim
// that has run out changes nothing.
func (a *Accounts) EndClaim(ctx context.Context, claim TokenClaim, tokens []byte) error {
	var sealed any // nil is NULL, an empty slice would not be
	var err error
	if tokens != nil {
		if sealed, err = a.ring.Seal(tokens, identityPlace(claim.id, "tokens")); err != nil {
			return fmt.Errorf("seal tokens of %s: %w", claim.id, err)
		}
	}
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, endClaim, sealed, claim.id, store.At(claim.until))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep tokens of %s: %w", claim.id, err)
	}
	return nil
}
