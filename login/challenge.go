package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/account"
	"gatehouse/account/otc"
	"gatehouse/account/passkey"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
	"gatehouse/session/token"
)

// Bounds of a challenge.
const (
	// ChallengeLife is how long a challenge waits for its answer.
	ChallengeLife = 5 * time.Minute
	// EnrolmentLife is how long one waits that can only enrol: an app is to be found and installed.
	EnrolmentLife = 15 * time.Minute

	maxTries = 5 // over all methods and servers
	maxCodes = 3 // sent for one challenge

	challengePrefix = "chl_"
)

// Challenge is what a person has to answer before they are let in, or before they may do something. Who
// knows its ID has shown the first factor: it is a secret.
type Challenge struct {
	ID             string
	Methods        []account.Method // to answer by, or to enrol
	ExpiresAt      time.Time
	PasskeyOptions json.RawMessage // of navigator.credentials.get; nil when a passkey is no method
	Enroll         bool            // it lets one enrol a second factor, and nothing else
}

// String hides the id from fmt.
func (c Challenge) String() string { return "[challenge]" }

// GoString hides the id from %#v.
func (c Challenge) GoString() string { return c.String() }

// Answer is what a person says to a challenge.
type Answer struct {
	Challenge string
	Method    account.Method
	Code      string          // or the password, by account.Password
	Passkey   json.RawMessage // by account.Passkey
	Trust     bool            // ask no more for a second factor on this device
	Mode      session.Mode    // "": session.Bearer; that of the sign-in
	session.Origin
}

// purpose is what a right answer does.
type purpose string

const (
	toSignIn purpose = "SIGN_IN"
	toEnroll purpose = "ENROLL"
	toStepUp purpose = "STEP_UP"
	toLift   purpose = "LIFT" // puts a suspended session back in use, and is its step-up
)

// waiting is a challenge as it is kept.
type waiting struct {
	hash      token.OpaqueHash
	user      viewer.UserID
	version   int64 // of the account: one that was changed must begin again
	purpose   purpose
	session   viewer.SessionID // of a step-up and a lift; "" before a sign-in
	methods   []account.Method
	sealed    []byte
	tries     int
	codeBy    account.Method // "": none was sent
	codeHash  []byte
	expiresAt time.Time
	usedAt    time.Time

	content
}

// content is the sealed part of a challenge.
type content struct {
	Shown    []string       `json:"shown"` // the first factor, RFC 8176
	Level    viewer.Level   `json:"level"` // what a right answer reaches
	Mode     session.Mode   `json:"mode"`
	Remember bool           `json:"remember"`
	Device   session.Device `json:"device"`
	Passkey  *passkey.State `json:"passkey,omitempty"`
}

// beside returns the methods that are a second factor beside the first: no code by mail beside one by
// mail, no passkey beside a passkey.
func beside(first string, methods []account.Method) []account.Method {
	return slices.DeleteFunc(slices.Clone(methods), func(m account.Method) bool {
		return first == byMail.method && m == account.Email || isPasskey(first) && m == account.Passkey
	})
}

// challengeTx keeps a challenge of user.
func (l *Logins) challengeTx(ctx context.Context, tx *store.Tx, user account.User, w waiting) (Challenge, error) {
	id, hash := token.NewOpaque(challengePrefix)
	c := Challenge{ID: id, Methods: w.methods, ExpiresAt: l.accounts.Now().Add(ChallengeLife), Enroll: w.purpose == toEnroll}
	if c.Enroll {
		c.ExpiresAt = l.accounts.Now().Add(EnrolmentLife)
	}
	if !c.Enroll && slices.Contains(w.methods, account.Passkey) {
		options, state, err := l.accounts.AskPasskeyTx(ctx, tx, user.ID)
		if err != nil {
			return Challenge{}, fmt.Errorf("challenge: %w", err)
		}
		c.PasskeyOptions, w.Passkey = options, &state
	}
	plain, err := json.Marshal(w.content)
	if err != nil {
		return Challenge{}, fmt.Errorf("challenge: %w", err)
	}
	sealed, err := l.accounts.Keyring().Seal(plain, challengePlace(hash))
	if err != nil {
		return Challenge{}, fmt.Errorf("challenge: %w", err)
	}
	_, err = tx.Exec(ctx, insertChallenge, hash[:], user.ID, user.Version(), w.purpose, store.OrNull(w.session),
		joined(w.methods), sealed, store.At(c.ExpiresAt))
	if err != nil {
		return Challenge{}, fmt.Errorf("challenge: %w", err)
	}
	return c, nil
}

func challengePlace(hash token.OpaqueHash) []byte {
	return append([]byte("challenges/sealed/"), hash[:]...)
}

// find returns the challenge id if by can still answer it. Fault: CHALLENGE_EXPIRED, for all that it may
// be: unknown, expired, used, used up, of another session, or sealed with a key that is no longer held.
func (l *Logins) find(ctx context.Context, by viewer.Viewer, id string) (waiting, error) {
	w, err := store.One(ctx, l.db, selectChallenge, scanChallenge, hashOf(id))
	if errors.Is(err, store.ErrNotFound) {
		return w, over()
	}
	if err != nil {
		return w, fmt.Errorf("read challenge: %w", err)
	}
	w.hash = token.HashOpaque(id)
	if !w.usedAt.IsZero() || w.tries >= maxTries || !l.accounts.Now().Before(w.expiresAt) ||
		!w.isFor(by) {
		return w, over()
	}
	plain, err := l.accounts.Keyring().Open(w.sealed, challengePlace(w.hash))
	if errors.Is(err, secret.ErrUnknownKey) { // it was dropped since
		return w, over()
	}
	if err != nil {
		return w, fmt.Errorf("open challenge: %w", err)
	}
	return w, json.Unmarshal(plain, &w.content)
}

// isFor reports whether by may answer: before a sign-in whoever knows the id, else its session alone.
func (w waiting) isFor(by viewer.Viewer) bool {
	switch w.purpose {
	case toStepUp:
		return by.Session == w.session
	case toLift:
		return by.Suspended == w.session
	}
	return true
}

func hashOf(id string) []byte {
	hash := token.HashOpaque(id)
	return hash[:]
}

func over() error {
	return fault.New(fault.ChallengeExpired, "challengeId", "This challenge is over. Begin again.")
}

// in refuses an answer in another mode than the sign-in's, or than that of the session that is put back in
// use: its tokens would go astray.
func (w waiting) in(mode session.Mode) error {
	if mode == "" {
		mode = session.Bearer
	}
	if w.purpose != toStepUp && w.Mode != mode {
		return fault.New(fault.WrongState, "", "Answer in the mode of the sign-in: with the header Gatehouse-Session if it had one, else without.")
	}
	return nil
}

// client is whoever the session is for.
func (w waiting) client(origin session.Origin) Client {
	return Client{Origin: origin, Device: w.Device, Mode: w.Mode, Remember: w.Remember}
}

// SendCode sends the code that answers a challenge by mail or SMS, in place of one that was sent before,
// and returns where it went, as it may be shown. by is the session that asks in a step-up or a lift. Faults:
// CHALLENGE_EXPIRED; INVALID at method; WRONG_STATE after three codes; RATE_LIMITED.
func (l *Logins) SendCode(ctx context.Context, by viewer.Viewer, id string, m account.Method, origin session.Origin) (to string, until time.Time, err error) {
	w, err := l.find(ctx, by, id)
	if err != nil {
		return "", time.Time{}, err
	}
	if w.purpose == toEnroll || m != account.Email && m != account.SMS || !slices.Contains(w.methods, m) {
		return "", time.Time{}, notAMethod()
	}
	if err := l.throttle.code(ctx, w, origin); err != nil {
		return "", time.Time{}, err
	}
	err = l.db.Update(ctx, func(tx *store.Tx) error {
		user, err := l.ownerTx(ctx, tx, w)
		if err != nil {
			return err
		}
		var digest otc.Digest
		if digest, to, err = l.accounts.SendCodeTx(ctx, tx, user, m, w.name()); err != nil {
			return err
		}
		kept, err := tx.Exec(ctx, keepCode, m, digest[:], w.hash[:], maxCodes, store.At(l.accounts.Now()))
		if err == nil && kept == 0 {
			return fault.New(fault.WrongState, "", "No more codes can be sent for this challenge. Begin again.")
		}
		return err
	})
	if err != nil {
		return "", time.Time{}, asked("send code", err)
	}
	return to, w.expiresAt, nil
}

func notAMethod() error {
	return fault.New(fault.Invalid, "method", "This challenge cannot be answered in this way.")
}

// name binds codes to the challenge.
func (w waiting) name() otc.Challenge { return otc.Challenge(w.hash[:]) }

// Answer checks an answer; each counts as a try. A right one lets the person in, raises the session of by
// in a step-up, or puts the suspended session of by back in use. Faults: CHALLENGE_EXPIRED, INVALID_CODE,
// INVALID_CREDENTIALS at code for a password, PASSKEY_REFUSED, INVALID at method, ACCOUNT_DISABLED,
// WRONG_STATE, RATE_LIMITED, UNAVAILABLE.
func (l *Logins) Answer(ctx context.Context, by viewer.Viewer, a Answer) (Outcome, error) {
	w, err := l.find(ctx, by, a.Challenge)
	if err != nil {
		return Outcome{}, err
	}
	if w.purpose == toEnroll || !slices.Contains(w.methods, a.Method) {
		return Outcome{}, notAMethod()
	}
	if err := w.in(a.Mode); err != nil {
		return Outcome{}, err
	}
	taken, err := l.throttle.answer(ctx, w, a.Method, a.Origin)
	if err != nil {
		return Outcome{}, err
	}
	p, err := l.prepare(ctx, w, a)
	if err != nil {
		return Outcome{}, asked("answer challenge", err)
	}
	var outcome Outcome
	var refused error
	err = l.db.Update(ctx, func(tx *store.Tx) (err error) {
		outcome, refused, err = l.answerTx(ctx, tx, w, a, p)
		return err
	})
	if err != nil {
		return Outcome{}, asked("answer challenge", err)
	}
	if refused != nil {
		return Outcome{}, refused
	}
	return outcome, l.throttle.giveBack(context.WithoutCancel(ctx), taken)
}

// answerTx counts a try and judges it. A refusal is committed: the try counts.
func (l *Logins) answerTx(ctx context.Context, tx *store.Tx, w waiting, a Answer, p prepared) (o Outcome, refused, err error) {
	now := store.At(l.accounts.Now())
	counted, err := tx.Exec(ctx, countTry, w.hash[:], maxTries, now)
	if err != nil {
		return o, nil, fmt.Errorf("count try: %w", err)
	}
	if counted == 0 { // others were first
		return o, over(), nil
	}
	user, err := l.ownerTx(ctx, tx, w)
	if err != nil {
		return o, nil, err
	}
	shown, err := l.proveTx(ctx, tx, user, w, a, p)
	if f, ok := fault.As(err); ok && f.Mendable() {
		return o, f, l.audit.RecordTx(ctx, tx, audit.Event{
			Action: audit.ChallengeRefused, Outcome: audit.Refused, Subject: user.ID, Session: w.session,
			Network: session.Network(a.IP), Details: map[string]string{"method": string(a.Method), "reason": string(f.Code)},
		})
	}
	if err != nil {
		return o, nil, err
	}
	if _, err := tx.Exec(ctx, useChallenge, now, w.hash[:]); err != nil {
		return o, nil, fmt.Errorf("use challenge: %w", err)
	}
	if w.session != "" {
		o, err = l.raiseTx(ctx, tx, user, w, a, shown)
		return o, nil, err
	}
	o, err = l.beginTx(ctx, tx, user, w.client(a.Origin), w.Level, slices.Concat(w.Shown, []string{shown, "mfa"}))
	if err == nil && a.Trust {
		o.Trust, o.TrustUntil, err = l.accounts.TrustTx(ctx, tx, user.ID, w.Device, a.Origin)
	}
	return o, nil, err
}

// ownerTx returns the account of a challenge, locked. Faults: CHALLENGE_EXPIRED when it was changed
// since, ACCOUNT_DISABLED.
func (l *Logins) ownerTx(ctx context.Context, tx *store.Tx, w waiting) (account.User, error) {
	user, err := l.accounts.LockTx(ctx, tx, w.user)
	switch {
	case fault.Is(err, fault.NotFound):
		return user, over()
	case err != nil:
		return user, err
	case user.Status != account.Active:
		return user, disabled()
	case user.Version() != w.version:
		return user, over()
	}
	return user, nil
}

func disabled() error { return fault.New(fault.AccountDisabled, "", "This account is disabled.") }

// prepared is what of an answer is slow to check, and was checked before the transaction.
type prepared struct {
	right   bool                 // the password
	passkey account.PasskeyEntry // the signature is good
	refused error                // it is not
}

func (l *Logins) prepare(ctx context.Context, w waiting, a Answer) (p prepared, err error) {
	switch a.Method {
	case account.Password:
		p.right, err = l.accounts.PasswordRight(ctx, w.user, a.Code)
	case account.Passkey:
		if w.Passkey == nil {
			return p, over()
		}
		p.passkey, err = l.accounts.CheckPasskey(ctx, *w.Passkey, a.Passkey)
		if fault.Is(err, fault.PasskeyRefused) {
			p.refused, err = err, nil
		}
	}
	return p, err
}

// proveTx accepts an answer and returns what it is in the words of RFC 8176, or refuses it.
func (l *Logins) proveTx(ctx context.Context, tx *store.Tx, user account.User, w waiting, a Answer, p prepared) (string, error) {
	switch a.Method {
	case account.TOTP:
		return "otp", l.accounts.UseTOTPTx(ctx, tx, user.ID, a.Code)
	case account.RecoveryCode:
		return "recovery", l.accounts.UseRecoveryCodeTx(ctx, tx, user, a.Code)
	case account.Email, account.SMS:
		now, err := store.One(ctx, tx, selectChallenge, scanChallenge, w.hash[:]) // another code may have been sent
		if err != nil {
			return "", fmt.Errorf("read challenge: %w", err)
		}
		if !l.isCode(now, w.name(), a) {
			return "", account.WrongCode()
		}
		if a.Method == account.SMS {
			return "sms", l.accounts.TouchPhonesTx(ctx, tx, user.ID)
		}
		return "email", nil
	case account.Passkey:
		if p.refused != nil {
			return "", p.refused
		}
		if p.passkey.User != user.ID {
			return "", fault.New(fault.PasskeyRefused, "", "The passkey was not accepted.")
		}
		return passkeyMethod(p.passkey), l.accounts.UsePasskeyTx(ctx, tx, p.passkey)
	case account.Password:
		if !p.right {
			return "", fault.New(fault.InvalidCredentials, "code", "The password is wrong.")
		}
		return byPassword.method, nil
	}
	return "", notAMethod()
}

// isCode reports whether an answer is the code that was last sent for w.
func (l *Logins) isCode(w waiting, name otc.Challenge, a Answer) bool {
	return w.codeBy == a.Method && len(w.codeHash) == len(otc.Digest{}) &&
		l.accounts.CheckCode(otc.Digest(w.codeHash), a.Method, name, a.Code)
}

// asked keeps faults as they are and says for the rest what was being done.
func asked(doing string, err error) error {
	if f, ok := fault.As(err); ok {
		return f
	}
	return fmt.Errorf("%s: %w", doing, err)
}
