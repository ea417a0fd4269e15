package login

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/login/oauth"
)

const (
	tokenMargin   = 30 * time.Second       // an access token that expires sooner is refreshed
	refreshWait   = 15 * time.Second       // for somebody else's refresh, at most
	refreshLookup = 100 * time.Millisecond // how often to look whether it is done
)

// keptTokens are a provider's tokens as accounts keep them, sealed.
type keptTokens struct {
	Issuer string `json:"issuer"` // as configured when they were given: for no other server
	oauth.Tokens
}

// good reports whether the access token can be used: refused is one that the provider would not take.
func (t keptTokens) good(now time.Time, refused string) bool {
	return t.Access != "" && t.Access != refused && (t.ExpiresAt.IsZero() || now.Add(tokenMargin).Before(t.ExpiresAt))
}

// AccessToken returns an access token of the identity's provider that is good for half a minute at least;
// by is its owner or the server itself. It is refreshed when needed, once for all who ask at the same
// time on all servers. Faults: UNAUTHENTICATED, NOT_FOUND, OAUTH_SIGN_IN_AGAIN, OAUTH_PROVIDER_UNAVAILABLE,
// OAUTH_CONFIGURATION and the like.
func (i *Identities) AccessToken(ctx context.Context, by viewer.Viewer, id account.IdentityID) (string, error) {
	identity, err := i.logins.accounts.Identity(ctx, by, id)
	if err != nil {
		return "", err
	}
	if identity.User != by.User && !by.System {
		return "", fault.Missing("identity")
	}
	tokens, err := i.tokens(ctx, identity, "")
	return tokens.Access, spoken(err)
}

// RefreshProfile asks the provider who the person of an identity is now; by is its owner. Faults: as
// AccessToken, and OAUTH_UNSUPPORTED where a provider tells it at sign-in only.
func (i *Identities) RefreshProfile(ctx context.Context, by viewer.Viewer, id account.IdentityID) (account.Identity, error) {
	if err := by.InPerson(); err != nil {
		return account.Identity{}, err
	}
	identity, err := i.logins.accounts.Identity(ctx, by, id)
	if err != nil {
		return account.Identity{}, err
	}
	if identity.User != by.User {
		return account.Identity{}, fault.Missing("identity")
	}
	if err := i.logins.throttle.profile(ctx, by.User); err != nil {
		return account.Identity{}, err
	}
	profile, err := i.profile(ctx, identity)
	if err != nil {
		return account.Identity{}, spoken(err)
	}
	return i.logins.accounts.KeepProfile(ctx, identity, providerProfile(profile))
}

// profile reads the profile, with a fresh access token if the kept one is refused.
func (i *Identities) profile(ctx context.Context, identity account.Identity) (oauth.Profile, error) {
	provider, err := i.configured(identity.Provider)
	if err != nil {
		return oauth.Profile{}, err
	}
	named := oauth.Identity{Issuer: identity.Issuer, Subject: identity.Subject}
	refused := ""
	for {
		tokens, err := i.tokens(ctx, identity, refused)
		if err != nil {
			return oauth.Profile{}, err
		}
		profile, err := provider.Profile(ctx, named, tokens.Tokens)
		if oauth.CodeOf(err) != oauth.AccessRefused || refused != "" {
			return profile, err
		}
		refused = tokens.Access
	}
}

// tokens returns the tokens of an identity with an access token that is good and not the refused one.
func (i *Identities) tokens(ctx context.Context, identity account.Identity, refused string) (keptTokens, error) {
	provider, err := i.configured(identity.Provider)
	if err != nil {
		return keptTokens{}, err
	}
	patience := time.NewTimer(refreshWait)
	defer patience.Stop()
	for {
		tokens, err := i.kept(ctx, identity)
		if err != nil {
			return keptTokens{}, err
		}
		if tokens.Issuer != provider.Issuer() {
			return keptTokens{}, fault.New(fault.OAuthSignInAgain, "", "Sign in with "+provider.Title()+" again.")
		}
		if tokens.good(i.now(), refused) {
			return tokens, nil
		}
		claim, claimed, err := i.logins.accounts.ClaimTokens(ctx, identity.ID)
		if err != nil {
			return keptTokens{}, err
		}
		if claimed {
			return i.refresh(ctx, provider, identity, claim, refused)
		}
		if err := await(ctx, refreshLookup, patience.C); err != nil {
			return keptTokens{}, err
		}
	}
}

// refresh asks the provider for fresh tokens, with the claim in hand. The answer is kept even when the
// caller has gone: the old refresh token may be used up.
func (i *Identities) refresh(ctx context.Context, provider *oauth.Provider, identity account.Identity, claim account.TokenClaim, refused string) (keptTokens, error) {
	lasting := context.WithoutCancel(ctx)
	tokens, err := i.kept(lasting, identity) // somebody may have refreshed them before the claim
	if err != nil || tokens.good(i.now(), refused) {
		return tokens, i.endClaim(lasting, claim, nil, err)
	}
	fresh, err := provider.Refresh(lasting, tokens.Refresh)
	if err != nil {
		return keptTokens{}, i.endClaim(lasting, claim, nil, spoken(err))
	}
	if fresh.Refresh == "" {
		fresh.Refresh = tokens.Refresh
	}
	tokens.Tokens = fresh
	encoded, err := json.Marshal(tokens)
	return tokens, i.endClaim(lasting, claim, encoded, err)
}

// endClaim returns err, or why the claim could not be ended.
func (i *Identities) endClaim(ctx context.Context, claim account.TokenClaim, tokens []byte, err error) error {
	ended := i.logins.accounts.EndClaim(ctx, claim, tokens)
	if err != nil {
		return err
	}
	return ended
}

// await waits for a while. Fault: UNAVAILABLE once patience is over.
func await(ctx context.Context, while time.Duration, patience <-chan time.Time) error {
	pause := time.NewTimer(while)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-patience:
		return fault.Busy(refreshWait)
	case <-pause.C:
		return nil
	}
}

// kept reads an identity's tokens; the zero ones when there are none.
func (i *Identities) kept(ctx context.Context, identity account.Identity) (keptTokens, error) {
	encoded, err := i.logins.accounts.ProviderTokens(ctx, identity.ID)
	if err != nil {
		return keptTokens{}, err
	}
	return readTokens(identity, encoded)
}

func readTokens(identity account.Identity, encoded []byte) (keptTokens, error) {
	if encoded == nil {
		return keptTokens{}, nil
	}
	var tokens keptTokens
	if err := json.Unmarshal(encoded, &tokens); err != nil {
		return keptTokens{}, fmt.Errorf("read tokens of %s: %w", identity.ID, err)
	}
	return tokens, nil
}
