package login

import (
	"errors"

	"gatehouse/internal/fault"
	"gatehouse/login/oauth"
)

// refusal is what a person is told of a failure at a provider.
type refusal struct {
	code    fault.Code
	message string
}

// The refusals by code of the provider's room. What is not among them is the provider's word against the
// standards: OAUTH_TOKEN_INVALID.
var refusals = map[oauth.Code]refusal{
	oauth.Denied:        {fault.OAuthDenied, "The sign-in was refused at the provider."},
	oauth.StateMismatch: {fault.OAuthStateMismatch, "This answer belongs to another sign-in. Start it again."},
	oauth.FlowExpired:   {fault.OAuthExpired, "The sign-in took longer than ten minutes. Start it again."},
	oauth.CodeInvalid:   {fault.OAuthCodeInvalid, "The provider's code was used before or is too old. Start the sign-in again."},

	oauth.IssuerMismatch:   {fault.OAuthIssuerMismatch, "The answer came from another provider than the one that was asked. Start the sign-in again."},
	oauth.AnswerMalformed:  {fault.OAuthAnswerInvalid, "The provider's answer cannot be read."},
	oauth.AnswerTooLarge:   {fault.OAuthAnswerInvalid, "The provider's answer is too large."},
	oauth.RedirectRefused:  {fault.OAuthAnswerInvalid, "The provider sends us to another host."},
	oauth.EndpointInsecure: {fault.OAuthAnswerInvalid, "The provider wants to be asked without TLS."},

	oauth.ExchangeRefused: {fault.OAuthProviderRefused, "The provider refused the sign-in."},
	oauth.ProviderError:   {fault.OAuthProviderRefused, "The provider refused the request."},
	oauth.AccessRefused:   {fault.OAuthSignInAgain, "The provider no longer lets us read this. Sign in with it again."},
	oauth.RefreshInvalid:  {fault.OAuthSignInAgain, "The provider no longer lets us in. Sign in with it again."},
	oauth.Unsupported:     {fault.OAuthUnsupported, "The provider does not offer this."},

	oauth.ProviderUnavailable: {fault.OAuthProviderUnavailable, "The provider cannot be reached. Try again in a moment."},
	oauth.ProviderSlow:        {fault.OAuthProviderUnavailable, "The provider does not answer in time. Try again in a moment."},
	oauth.ConfigWrong:         {fault.OAuthConfiguration, "The provider does not accept our settings. The operator can mend this."},
	oauth.RedirectUnknown:     {fault.OAuthConfiguration, "The provider's redirect addresses do not fit. The operator can mend this."},
}

// spoken returns err in words for a person when it is a failure at a provider. Whoever went away is
// told nothing.
func spoken(err error) error {
	var failed *oauth.Error
	if !errors.As(err, &failed) || failed.Code == oauth.Aborted {
		return err
	}
	told, known := refusals[failed.Code]
	if !known {
		told = refusal{fault.OAuthTokenInvalid, "The provider's word about you does not hold. Try again, or tell the operator."}
	}
	return fault.New(told.code, "", told.message).With(err)
}
