package login

import (
	"context"
	"encoding/json"
	"fmt"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login/oauth"
	"gatehouse/session"
)

// byProvider is no value of RFC 8176, which has none for a sign-in that another server vouches for.
var byProvider = way{"fed", viewer.AAL1}

// maxRaces bounds how often enter runs against others who link the same identity.
const maxRaces = 3

// enter lets in, or links, the person whom a provider has presented.
func (i *Identities) enter(ctx context.Context, by viewer.Viewer, p pending, result oauth.Result, client Client) (Entered, error) {
	person, err := i.present(p, result)
	if err != nil {
		return Entered{}, err
	}
	var entered Entered
	for range maxRaces {
		err = i.logins.db.Update(ctx, func(tx *store.Tx) (err error) {
			if p.links() {
				entered, err = i.linkTx(ctx, tx, by, p, person, client)
			} else {
				entered, err = i.signInTx(ctx, tx, person, client)
			}
			return err
		})
		if !raced(err) {
			break
		}
	}
	if err != nil {
		err = i.logins.remind(ctx, viewer.Viewer{User: entered.Identity.User}, "", client.Origin, err)
		return Entered{}, i.refuse(ctx, p, client, err)
	}
	i.o.Log.InfoContext(ctx, "oauth: entered", "flow", p.id(), "provider", p.Flow.Provider, "user", entered.Identity.User,
		"identity", entered.Identity.ID, "link", p.links())
	return entered, nil
}

// presented is whom a provider has presented, with the tokens it gave.
type presented struct {
	account.Federated
	tokens keptTokens
}

// present translates what the provider's room says into the words of accounts.
func (i *Identities) present(p pending, result oauth.Result) (presented, error) {
	tokens := keptTokens{Issuer: p.Flow.Issuer, Tokens: result.Tokens}
	encoded, err := json.Marshal(tokens)
	if err != nil {
		return presented{}, fmt.Errorf("write tokens: %w", err)
	}
	return presented{account.Federated{
		Provider: p.Flow.Provider, Title: i.Title(p.Flow.Provider), Issuer: result.Identity.Issuer, Subject: result.Identity.Subject,
		Profile: providerProfile(result.Profile), Locale: result.Profile.Locale, Tokens: encoded,
	}, tokens}, nil
}

// meetTx keeps what the provider has said of an identity that is known. Some, Google among them, give a
// refresh token with the first consent only: tokens without one do not replace tokens with one.
func (i *Identities) meetTx(ctx context.Context, tx *store.Tx, identity account.Identity, person presented) (account.Identity, error) {
	encoded, err := i.logins.accounts.ProviderTokensTx(ctx, tx, identity.ID)
	if err != nil {
		return account.Identity{}, err
	}
	old, err := readTokens(identity, encoded)
	if err != nil {
		return account.Identity{}, err
	}
	if person.tokens.Refresh == "" && old.Refresh != "" && old.Issuer == person.tokens.Issuer {
		person.Tokens = nil
	}
	return i.logins.accounts.MeetTx(ctx, tx, identity, person.Federated)
}

func providerProfile(p oauth.Profile) account.ProviderProfile {
	return account.ProviderProfile{
		Email: p.Email, EmailVerified: p.EmailVerified, Name: p.Name, Username: p.Username, Picture: p.Picture,
	}
}

// linkTx gives the identity to the account that began the flow. Faults: OAUTH_LINK_MISMATCH when
// somebody else completes it, OAUTH_IDENTITY_TAKEN, LIMIT_EXCEEDED.
func (i *Identities) linkTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, p pending, person presented, client Client) (Entered, error) {
	if by.User != p.Link || by.Session != p.Session {
		return Entered{}, fault.New(fault.OAuthLinkMismatch, "", "This link was begun in another session. Start it again in this one.")
	}
	identity, owner, err := i.logins.accounts.FindIdentityTx(ctx, tx, person.Issuer, person.Subject)
	switch {
	case err == nil && owner.ID != by.User:
		return Entered{}, fault.New(fault.OAuthIdentityTaken, "", "Another account has this identity. Unlink it there first.")
	case err == nil:
		identity, err = i.meetTx(ctx, tx, identity, person)
		return Entered{Identity: identity}, err
	case !fault.Is(err, fault.NotFound):
		return Entered{}, err
	}
	user, err := i.logins.accounts.LockTx(ctx, tx, by.User)
	if err != nil {
		return Entered{}, err
	}
	identity, err = i.logins.accounts.LinkTx(ctx, tx, by, user, person.Federated, session.Network(client.IP))
	return Entered{Identity: identity}, err
}

// signInTx lets in whom the identity belongs to, after it was linked or the account was made where the
// rules of [Identities.ownerTx] allow that.
func (i *Identities) signInTx(ctx context.Context, tx *store.Tx, person presented, client Client) (Entered, error) {
	identity, user, err := i.logins.accounts.FindIdentityTx(ctx, tx, person.Issuer, person.Subject)
	switch {
	case err == nil:
		identity, err = i.meetTx(ctx, tx, identity, person)
	case fault.Is(err, fault.NotFound):
		user, identity, err = i.ownerTx(ctx, tx, person, session.Network(client.IP))
	}
	if err != nil {
		return Entered{}, err
	}
	if user.Status != account.Active {
		return Entered{}, disabled()
	}
	outcome, err := i.logins.enterTx(ctx, tx, user, client, byProvider)
	return Entered{Outcome: outcome, Identity: identity}, err
}

// ownerTx decides whose a new identity is, by the address:
//
//	address at the provider   account with it   the identity goes to
//	none                      –                 nobody: OAUTH_EMAIL_REQUIRED
//	unverified                none              a new, unconfirmed account; where addresses are confirmed first, nobody
//	unverified                any               nobody: OAUTH_EMAIL_UNVERIFIED
//	verified                  none              a new, confirmed account
//	verified                  confirmed         that account
//	verified                  unconfirmed       that account, after it was reclaimed
func (i *Identities) ownerTx(ctx context.Context, tx *store.Tx, person presented, network string) (account.User, account.Identity, error) {
	accounts := i.logins.accounts
	newcomer, err := accounts.PrepareFederated(person.Federated)
	if err != nil {
		return account.User{}, account.Identity{}, fault.New(fault.OAuthEmailRequired, "",
			person.Title+" tells no usable e-mail address. Register with one, then link "+person.Title+" in your account.")
	}
	user, err := accounts.LockByEmailTx(ctx, tx, person.Profile.Email)
	isNew := fault.Is(err, fault.NotFound)
	if err != nil && !isNew {
		return account.User{}, account.Identity{}, err
	}
	if !person.Profile.EmailVerified && (!isNew || accounts.EmailVerification() == account.Required) {
		return account.User{}, account.Identity{}, fault.New(fault.OAuthEmailUnverified, "",
			person.Title+" has not verified your e-mail address. Verify it there, or sign in here another way and link "+person.Title+" in your account.")
	}
	if isNew {
		return accounts.RegisterFederatedTx(ctx, tx, newcomer, person.Federated, network)
	}
	if user.Status != account.Active { // nothing is linked to an account that an administrator has closed
		return user, account.Identity{}, nil
	}
	if !user.Verified {
		if user, err = accounts.ReclaimTx(ctx, tx, user, network); err != nil {
			return account.User{}, account.Identity{}, err
		}
	}
	identity, err := accounts.LinkTx(ctx, tx, viewer.Viewer{User: user.ID}, user, person.Federated, network)
	return user, identity, err
}
