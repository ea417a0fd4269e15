package account

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/account/totp"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Authenticator is a TOTP key on its way into an app. It is shown once.
type Authenticator struct {
	Factor FactorID
	Secret string // base32
	URI    string // otpauth://…
	QR     string // data URI of a PNG
}

// EnrollTOTP begins to add an authenticator app to the account of by; name may be empty. It counts once a
// code of it was proved and confirmed ([Accounts.ProveTOTP], [Accounts.ConfirmTx]), within 15 minutes. Faults: UNAUTHENTICATED,
// STEP_UP_REQUIRED, WRONG_STATE, RATE_LIMITED, TOO_LONG and INVALID at name.
func (a *Accounts) EnrollTOTP(ctx context.Context, by viewer.Viewer, name string) (Authenticator, error) {
	if err := a.mayEnroll(ctx, by, TOTP); err != nil {
		return Authenticator{}, err
	}
	user, err := a.Get(ctx, by.User)
	if err != nil {
		return Authenticator{}, err
	}
	key := totp.New()
	r, err := a.newFactor(by, TOTPFactor, key.Text(), name, "Authenticator app")
	if err != nil {
		return Authenticator{}, err
	}
	enrolled := Authenticator{Factor: r.ID, Secret: key.Text(), URI: key.URI(a.o.Product, user.Email)}
	if enrolled.QR, err = totp.QR(enrolled.URI); err != nil {
		return Authenticator{}, fmt.Errorf("enroll TOTP: %w", err)
	}
	err = a.db.Update(ctx, func(tx *store.Tx) error { return a.pendTx(ctx, tx, r, maxTOTP) })
	if err != nil {
		return Authenticator{}, err
	}
	return enrolled, nil
}

// ProveTOTP checks a code of the app id that waits to be confirmed. Faults: UNAUTHENTICATED, NOT_FOUND,
// INVALID_CODE.
func (a *Accounts) ProveTOTP(ctx context.Context, by viewer.Viewer, id FactorID, code string) (Proven, error) {
	r, err := a.pending(ctx, by, id, TOTPFactor)
	if err != nil {
		return Proven{}, err
	}
	step, err := a.step(r, code)
	r.counter = int64(step)
	return Proven{row: r}, err
}

// UseTOTPTx accepts a code of one of user's apps, once over all servers. Fault: INVALID_CODE.
func (a *Accounts) UseTOTPTx(ctx context.Context, tx *store.Tx, user viewer.UserID, code string) error {
	rows, err := store.All(ctx, tx, selectFactorsOf, scanFactor, user, TOTPFactor)
	if err != nil {
		return fmt.Errorf("check TOTP: %w", err)
	}
	for _, r := range rows {
		step, err := a.step(r, code)
		if fault.Is(err, fault.InvalidCode) {
			continue
		}
		if err != nil {
			return err
		}
		used, err := tx.Exec(ctx, useFactor, int64(step), store.At(a.now()), r.ID, int64(step))
		if err != nil {
			return fmt.Errorf("use TOTP: %w", err)
		}
		if used == 1 { // else another request was first with this very code
			return nil
		}
	}
	return wrongCode()
}

// step returns the step of which code is. Fault: INVALID_CODE, for a used one too.
func (a *Accounts) step(r factorRow, code string) (totp.Step, error) {
	text, err := a.secretOf(r)
	if err != nil {
		return 0, err
	}
	key, err := totp.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("open factor %s: %w", r.ID, err)
	}
	step, err := totp.Verify(key, code, a.o.Now(), totp.Step(r.counter))
	if errors.Is(err, totp.ErrWrong) || errors.Is(err, totp.ErrReused) {
		return 0, wrongCode()
	}
	return step, err
}
