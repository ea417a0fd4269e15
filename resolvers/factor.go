package resolvers

import (
	"context"
	"encoding/json"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
)

func (r *mutationResolver) VerifyMfa(ctx context.Context, input graph.VerifyMfaInput) (*graph.VerifyMfaPayload, error) {
	by, err := r.holder(ctx, input.RefreshToken)
	if err != nil {
		return nil, err
	}
	entry, err := r.Logins.Answer(ctx, by, login.Answer{
		Challenge: input.ChallengeID, Method: input.Method, Code: orEmpty(input.Code), Passkey: unquoted(input.PasskeyResponse),
		Trust: input.TrustDevice != nil && *input.TrustDevice, Mode: modeOf(ctx), Origin: requestOf(ctx).Origin,
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.VerifyMfaPayload{UserErrors: refused}, err
	}
	return &graph.VerifyMfaPayload{
		Outcome: loginOutcome(ctx, entry), TrustedDeviceToken: trustToken(ctx, entry), UserErrors: noErrors(),
	}, nil
}

func (r *mutationResolver) SendMfaCode(ctx context.Context, input graph.SendMfaCodeInput) (*graph.SendMfaCodePayload, error) {
	by, err := r.holder(ctx, input.RefreshToken)
	if err != nil {
		return nil, err
	}
	to, until, err := r.Logins.SendCode(ctx, by, input.ChallengeID, input.Method, requestOf(ctx).Origin)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.SendMfaCodePayload{UserErrors: refused}, err
	}
	return &graph.SendMfaCodePayload{SentTo: &to, ExpiresAt: &until, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) StepUp(ctx context.Context, input *graph.StepUpInput) (*graph.StepUpPayload, error) {
	if input == nil {
		input = &graph.StepUpInput{}
	}
	by, err := r.holder(ctx, input.RefreshToken)
	if err != nil {
		return nil, err
	}
	c, err := r.Logins.StepUp(ctx, by)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.StepUpPayload{UserErrors: refused}, err
	}
	return &graph.StepUpPayload{Challenge: challenge(c), UserErrors: noErrors()}, nil
}

func (r *mutationResolver) EnrollTotp(ctx context.Context, input *graph.EnrollTotpInput) (*graph.EnrollTotpPayload, error) {
	if input == nil {
		input = &graph.EnrollTotpInput{}
	}
	app, err := r.Logins.EnrollTOTP(ctx, viewer.From(ctx), orEmpty(input.ChallengeID), orEmpty(input.Name))
	if err != nil {
		refused, err := userErrors(err)
		return &graph.EnrollTotpPayload{UserErrors: refused}, err
	}
	id := string(app.Factor)
	return &graph.EnrollTotpPayload{
		Secret: &app.Secret, OtpauthURI: &app.URI, QRCode: &app.QR, FactorID: &id, UserErrors: noErrors(),
	}, nil
}

func (r *mutationResolver) ConfirmTotp(ctx context.Context, input graph.ConfirmTotpInput) (*graph.ConfirmTotpPayload, error) {
	done, err := r.Logins.ConfirmTOTP(ctx, viewer.From(ctx), login.Confirmation{
		Challenge: orEmpty(input.ChallengeID), Mode: modeOf(ctx), Origin: requestOf(ctx).Origin,
		Factor: account.FactorID(input.FactorID), Code: input.Code,
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.ConfirmTotpPayload{UserErrors: refused}, err
	}
	return &graph.ConfirmTotpPayload{
		Factor: &done.Factor, RecoveryCodes: done.Codes, Outcome: loginOutcome(ctx, done.Outcome), UserErrors: noErrors(),
	}, nil
}

func (r *mutationResolver) EnrollPhone(ctx context.Context, input graph.EnrollPhoneInput) (*graph.EnrollPhonePayload, error) {
	factor, err := r.Logins.EnrollPhone(ctx, viewer.From(ctx), orEmpty(input.ChallengeID), input.PhoneNumber, orEmpty(input.Name), requestOf(ctx).Origin)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.EnrollPhonePayload{UserErrors: refused}, err
	}
	id := string(factor)
	return &graph.EnrollPhonePayload{FactorID: &id, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) ConfirmPhone(ctx context.Context, input graph.ConfirmPhoneInput) (*graph.ConfirmPhonePayload, error) {
	done, err := r.Logins.ConfirmPhone(ctx, viewer.From(ctx), login.Confirmation{
		Challenge: orEmpty(input.ChallengeID), Mode: modeOf(ctx), Origin: requestOf(ctx).Origin,
		Factor: account.FactorID(input.FactorID), Code: input.Code,
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.ConfirmPhonePayload{UserErrors: refused}, err
	}
	return &graph.ConfirmPhonePayload{
		Factor: &done.Factor, RecoveryCodes: done.Codes, Outcome: loginOutcome(ctx, done.Outcome), UserErrors: noErrors(),
	}, nil
}

func (r *mutationResolver) StartPasskeyRegistration(ctx context.Context, input *graph.StartPasskeyRegistrationInput) (*graph.StartPasskeyRegistrationPayload, error) {
	if input == nil {
		input = &graph.StartPasskeyRegistrationInput{}
	}
	c, err := r.Logins.StartPasskeyRegistration(ctx, viewer.From(ctx), orEmpty(input.ChallengeID))
	if err != nil {
		refused, err := userErrors(err)
		return &graph.StartPasskeyRegistrationPayload{UserErrors: refused}, err
	}
	return &graph.StartPasskeyRegistrationPayload{CeremonyID: &c.ID, Options: c.Options, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) FinishPasskeyRegistration(ctx context.Context, input graph.FinishPasskeyRegistrationInput) (*graph.FinishPasskeyRegistrationPayload, error) {
	done, err := r.Logins.FinishPasskeyRegistration(ctx, viewer.From(ctx), login.Confirmation{
		Challenge: orEmpty(input.ChallengeID), Mode: modeOf(ctx), Origin: requestOf(ctx).Origin,
		Ceremony: input.CeremonyID, Response: unquoted(input.Response), Name: orEmpty(input.Name),
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.FinishPasskeyRegistrationPayload{UserErrors: refused}, err
	}
	return &graph.FinishPasskeyRegistrationPayload{
		Factor: &done.Factor, RecoveryCodes: done.Codes, Outcome: loginOutcome(ctx, done.Outcome), UserErrors: noErrors(),
	}, nil
}

func (r *mutationResolver) RemoveFactor(ctx context.Context, input graph.RemoveFactorInput) (*graph.RemoveFactorPayload, error) {
	if err := r.Accounts.RemoveFactor(ctx, viewer.From(ctx), account.FactorID(input.FactorID)); err != nil {
		refused, err := userErrors(err)
		return &graph.RemoveFactorPayload{UserErrors: refused}, err
	}
	return &graph.RemoveFactorPayload{FactorID: &input.FactorID, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) RegenerateRecoveryCodes(ctx context.Context) (*graph.RegenerateRecoveryCodesPayload, error) {
	codes, err := r.Accounts.RegenerateRecoveryCodes(ctx, viewer.From(ctx))
	refused, err := userErrors(err)
	return &graph.RegenerateRecoveryCodesPayload{RecoveryCodes: codes, UserErrors: refused}, err
}

func (r *mutationResolver) StartPasskeyLogin(ctx context.Context, input *graph.StartPasskeyLoginInput) (*graph.StartPasskeyLoginPayload, error) {
	if input == nil {
		input = &graph.StartPasskeyLoginInput{}
	}
	c, err := r.Logins.StartPasskeyLogin(ctx, orEmpty(input.Email), requestOf(ctx).Origin.IP)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.StartPasskeyLoginPayload{UserErrors: refused}, err
	}
	return &graph.StartPasskeyLoginPayload{CeremonyID: &c.ID, Options: c.Options, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) FinishPasskeyLogin(ctx context.Context, input graph.FinishPasskeyLoginInput) (*graph.FinishPasskeyLoginPayload, error) {
	entry, err := r.Logins.ByPasskey(ctx, login.PasskeyAttempt{
		Ceremony: input.CeremonyID, Response: unquoted(input.Response), Client: clientOf(ctx, input.RememberMe, input.Device),
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.FinishPasskeyLoginPayload{UserErrors: refused}, err
	}
	return &graph.FinishPasskeyLoginPayload{Outcome: loginOutcome(ctx, entry), UserErrors: noErrors()}, nil
}

func (r *mutationResolver) RevokeTrustedDevice(ctx context.Context, input graph.RevokeTrustedDeviceInput) (*graph.RevokeTrustedDevicePayload, error) {
	if err := r.Accounts.RevokeTrustedDevice(ctx, viewer.From(ctx), account.TrustedDeviceID(input.TrustedDeviceID)); err != nil {
		refused, err := userErrors(err)
		return &graph.RevokeTrustedDevicePayload{UserErrors: refused}, err
	}
	return &graph.RevokeTrustedDevicePayload{TrustedDeviceID: &input.TrustedDeviceID, UserErrors: noErrors()}, nil
}

func (r *userResolver) Factors(ctx context.Context, obj *account.User) ([]*account.Factor, error) {
	factors, err := of(ctx, &dataloaders.From(ctx).Factors, obj)
	return pointers(factors), err
}

func (r *userResolver) RecoveryCodesLeft(ctx context.Context, obj *account.User) (*int, error) {
	left, err := of(ctx, &dataloaders.From(ctx).RecoveryCodes, obj)
	return &left, err
}

func (r *userResolver) TrustedDevices(ctx context.Context, obj *account.User) ([]*account.TrustedDevice, error) {
	devices, err := of(ctx, &dataloaders.From(ctx).TrustedDevices, obj)
	return pointers(devices), err
}

// holder is the caller or, where nobody is signed in, whoever shows the refresh token of a suspended
// session: its access token may have expired meanwhile.
func (r *mutationResolver) holder(ctx context.Context, refreshToken *string) (viewer.Viewer, error) {
	by, token := viewer.From(ctx), orEmpty(refreshToken)
	if cookies := requestOf(ctx).Cookies; token == "" && cookies != nil {
		token = cookies.Refresh()
	}
	if !by.Anonymous() || by.Suspended != "" || token == "" {
		return by, nil
	}
	return r.Sessions.Holder(ctx, token)
}

// loginOutcome is what a sign-in has led to, nil for nothing yet.
func loginOutcome(ctx context.Context, o login.Outcome) graph.LoginOutcome {
	switch {
	case o.SignedIn():
		return outcome(ctx, o.Tokens)
	case o.Challenged() && o.Challenge.Enroll:
		return &graph.EnrolmentRequired{ID: o.Challenge.ID, Methods: o.Challenge.Methods, ExpiresAt: o.Challenge.ExpiresAt}
	case o.Challenged():
		return challenge(o.Challenge)
	}
	return nil
}

func challenge(c login.Challenge) *graph.MfaChallenge {
	return &graph.MfaChallenge{ID: c.ID, Methods: c.Methods, ExpiresAt: c.ExpiresAt, PasskeyOptions: c.PasskeyOptions}
}

// trustToken hands the token of a device over that is trusted from now on: in the answer, or as a cookie.
func trustToken(ctx context.Context, o login.Outcome) *string {
	if o.Trust == "" {
		return nil
	}
	if cookies := requestOf(ctx).Cookies; cookies != nil {
		cookies.SetDevice(o.Trust, o.TrustUntil)
		return nil
	}
	return &o.Trust
}

// modeOf is how the caller keeps tokens.
func modeOf(ctx context.Context) session.Mode {
	if requestOf(ctx).Cookies != nil {
		return session.Cookie
	}
	return session.Bearer
}

// unquoted returns an object that a client has sent as a text.
func unquoted(raw json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return json.RawMessage(text)
	}
	return raw
}

func pointers[T any](values []T) []*T {
	all := make([]*T, len(values))
	for i := range values {
		all[i] = &values[i]
	}
	return all
}
