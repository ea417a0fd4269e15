package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/account/otc"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// CodeLife is how long a code by mail or SMS is good.
const CodeLife = 10 * time.Minute

// maxCodeTries bounds the tries for one code.
const maxCodeTries = 5

// What codes are for.
const (
	confirmPhone otc.Purpose = "confirm-phone"
	answerByMail otc.Purpose = "mfa-email"
	answerBySMS  otc.Purpose = "mfa-sms"
)

// The limits of codes that confirm a phone, since each costs an SMS: of an account and of a number, whoever
// asks for it; and of an IP address and a network, since whoever makes many accounts is one of few there.
var (
	codesPerAccount = limit.Rule{Name: "phone-codes", Limit: 12, Per: time.Hour, Burst: 5}
	codesPerNumber  = limit.Rule{Name: "phone-number", Limit: 4, Per: time.Hour, Burst: 5}
	codesPerIP      = limit.Rule{Name: "phone-ip", Limit: 12, Per: time.Hour, Burst: 10}
	codesPerNetwork = limit.Rule{Name: "phone-network", Limit: 60, Per: time.Hour, Burst: 30}
)

// EnrollPhone begins to add a phone to the account of by, and sends it a code by SMS. Faults:
// UNAUTHENTICATED, STEP_UP_REQUIRED, WRONG_STATE, RATE_LIMITED, INVALID at phoneNumber, TOO_LONG and
// INVALID at name.
func (a *Accounts) EnrollPhone(ctx context.Context, by viewer.Viewer, number, name string, from session.Origin) (FactorID, error) {
	if err := a.mayEnroll(ctx, by, SMS); err != nil {
		return "", err
	}
	number, err := parseNumber(number)
	if err != nil {
		return "", err
	}
	if err := a.countCode(ctx, by.User, number, from); err != nil {
		return "", err
	}
	user, err := a.Get(ctx, by.User)
	if err != nil {
		return "", err
	}
	r, err := a.newFactor(by, PhoneFactor, number, name, "Phone "+ending(number))
	if err != nil {
		return "", err
	}
	code := otc.New()
	digest := otc.Hash(a.codes, confirmPhone, otc.Challenge(r.ID), code)
	r.codeHash, r.codeExpires = digest[:], a.now().Add(CodeLife)
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		if err := a.pendTx(ctx, tx, r, maxPhones); err != nil {
			return err
		}
		return a.PostTx(ctx, tx, notify.Message{
			Kind: notify.PhoneConfirm, To: number, Locale: user.Locale, Code: code, Minutes: int(CodeLife / time.Minute),
		})
	})
	return r.ID, err
}

// NumberOf returns the number of a phone that is a factor, "" for a factor of another kind. The caller checks
// who may see it. Fault: NOT_FOUND when it was removed.
func (a *Accounts) NumberOf(ctx context.Context, f Factor) (string, error) {
	if f.Kind != PhoneFactor {
		return "", nil
	}
	r, err := store.One(ctx, a.db, selectFactor, scanFactor, f.ID)
	if errors.Is(err, store.ErrNotFound) {
		return "", fault.Missing("factor")
	}
	if err != nil {
		return "", fmt.Errorf("read phone: %w", err)
	}
	return a.secretOf(r)
}

// ProvePhone checks the code that was sent to the phone id that waits to be confirmed; each try counts.
// Faults: UNAUTHENTICATED, NOT_FOUND, INVALID_CODE.
func (a *Accounts) ProvePhone(ctx context.Context, by viewer.Viewer, id FactorID, code string) (Proven, error) {
	r, err := a.pending(ctx, by, id, PhoneFactor)
	if err != nil {
		return Proven{}, err
	}
	var counted int64
	err = a.db.Update(ctx, func(tx *store.Tx) (err error) {
		counted, err = tx.Exec(ctx, countCodeTry, id, maxCodeTries)
		return err
	})
	if err != nil {
		return Proven{}, fmt.Errorf("confirm phone: %w", err)
	}
	if counted == 0 || !a.now().Before(r.codeExpires) {
		return Proven{}, fault.New(fault.InvalidCode, "code", "The code is no longer good. Enroll the phone once more.")
	}
	if !otc.Check(a.codes, otc.Digest(r.codeHash), confirmPhone, otc.Challenge(id), code) {
		return Proven{}, wrongCode()
	}
	return Proven{row: r}, nil
}

// SendCodeTx sends user a code by mail or SMS that answers challenge alone, and returns what to store of
// it and where it went, as it may be shown. Faults: WRONG_STATE without an address or phone to send to.
func (a *Accounts) SendCodeTx(ctx context.Context, tx *store.Tx, user User, m Method, challenge otc.Challenge) (otc.Digest, string, error) {
	purpose, to, err := a.codeTo(ctx, tx, user, m)
	if err != nil {
		return otc.Digest{}, "", err
	}
	code := otc.New()
	message := notify.Message{Kind: notify.MfaCode, Code: code, Minutes: int(CodeLife / time.Minute)}
	message = a.messageTo(user, message)
	message.To = to
	if err := a.PostTx(ctx, tx, message); err != nil {
		return otc.Digest{}, "", err
	}
	return otc.Hash(a.codes, purpose, challenge, code), masked(to), nil
}

// CheckCode reports whether code is that of digest, sent by m for challenge.
func (a *Accounts) CheckCode(digest otc.Digest, m Method, challenge otc.Challenge, code string) bool {
	purpose := answerByMail
	if m == SMS {
		purpose = answerBySMS
	}
	return otc.Check(a.codes, digest, purpose, challenge, code)
}

// codeTo returns where codes of m go, the newest phone of several.
func (a *Accounts) codeTo(ctx context.Context, tx *store.Tx, user User, m Method) (otc.Purpose, string, error) {
	if m == Email {
		if !user.Verified {
			return "", "", fault.New(fault.WrongState, "method", "Confirm your e-mail address first.")
		}
		return answerByMail, user.Email, nil
	}
	rows, err := store.All(ctx, tx, selectFactorsOf, scanFactor, user.ID, PhoneFactor)
	if err != nil {
		return "", "", fmt.Errorf("read phones: %w", err)
	}
	if len(rows) == 0 {
		return "", "", fault.New(fault.WrongState, "method", "Your account has no phone.")
	}
	number, err := a.secretOf(rows[len(rows)-1])
	return answerBySMS, number, err
}

// TouchPhonesTx notes that user's newest phone was used.
func (a *Accounts) TouchPhonesTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	rows, err := store.All(ctx, tx, selectFactorsOf, scanFactor, user, PhoneFactor)
	if err != nil || len(rows) == 0 {
		return err
	}
	_, err = tx.Exec(ctx, touchFactor, store.At(a.now()), rows[len(rows)-1].ID)
	return err
}

// countCode counts a code by SMS to number. Fault: RATE_LIMITED.
func (a *Accounts) countCode(ctx context.Context, user viewer.UserID, number string, from session.Origin) error {
	return a.count(ctx, append(byOrigin(from.IP, codesPerIP, codesPerNetwork),
		limit.Request{Rule: codesPerAccount, Subject: string(user), Cost: 1},
		limit.Request{Rule: codesPerNumber, Subject: number, Cost: 1}))
}

// parseNumber returns a phone number in the form of E.164: a plus sign and 7 to 15 digits.
func parseNumber(text string) (string, error) {
	if len(text) > 64 {
		return "", badNumber()
	}
	number := strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "", "/", "", "\u00a0", "").Replace(text)
	digits, plus := strings.CutPrefix(number, "+")
	if !plus || len(digits) < 7 || len(digits) > 15 || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return "", badNumber()
	}
	return number, nil
}

func badNumber() error {
	return fault.New(fault.Invalid, "phoneNumber", "Write the number with its country, e.g. +49 170 1234567.")
}

// ending shows the last two digits of a number.
func ending(number string) string { return "…" + number[len(number)-2:] }

// masked shows as much of an address or number as its owner needs to know it.
func masked(to string) string {
	if !strings.Contains(to, "@") {
		return ending(to)
	}
	at := strings.LastIndexByte(to, '@')
	first := []rune(to)[:1]
	return string(first) + "…" + to[at:]
}
