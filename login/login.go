// Package login is the ways in: what a person shows, and what they get for it.
//
// [Logins.ByPassword], [Logins.ByMail], [Logins.Register] and, for people whom a provider vouches for,
// [Identities] end in an [Outcome]. Every attempt is counted before anything is looked up or hashed (see
// [Limits]), every result is recorded in the audit, and a refused password costs and says the same
// whether or not the address has an account.
//
// The slow part, the hash, is computed before the transaction; the transaction holds the session, its
// refresh token and the audit event, and nothing else.
package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Client is what is known of whoever asks: where, with what, and how they keep their tokens.
type Client struct {
	session.Origin
	Device   session.Device
	Mode     session.Mode // "": session.Bearer
	Remember bool
	Trust    string // the token of a trusted device; "" when there is none
}

// Attempt is a sign-in with a password.
type Attempt struct {
	Email    string
	Password string
	Client
}

// Registration is a new account that wants to be signed in at once.
type Registration struct {
	account.Registration
	Client
}

// Outcome is what an attempt came to: tokens of a session, or a challenge to answer first. The zero
// Outcome says that the address must be confirmed first; that of [Logins.ByLink], that a challenge is due.
type Outcome struct {
	Tokens    session.Tokens
	User      account.User
	Challenge Challenge

	Trust      string    // the token of the device, when it is trusted from now on
	TrustUntil time.Time // how long
}

// SignedIn reports whether there is a session.
func (o Outcome) SignedIn() bool { return o.Tokens.Session.ID != "" }

// Challenged reports whether there is a challenge.
func (o Outcome) Challenged() bool { return o.Challenge.ID != "" }

// Logins is the ways into a deployment. Its methods may be called from many goroutines.
type Logins struct {
	db       *store.DB
	accounts *account.Accounts
	sessions *session.Sessions
	audit    *audit.Log
	throttle throttle
}

// New returns the ways in. The zero Limits are the default ones.
func New(db *store.DB, accounts *account.Accounts, sessions *session.Sessions, log *audit.Log, limiter *limit.Limiter, limits Limits) *Logins {
	return &Logins{
		db: db, accounts: accounts, sessions: sessions, audit: log,
		throttle: throttle{limiter: limiter, limits: limits.withDefaults(), accounts: accounts, sessions: sessions},
	}
}

// ByPassword signs a person in. Faults: INVALID_CREDENTIALS, the same for an unknown address and a
// wrong password; ACCOUNT_DISABLED, PASSWORD_RESET_REQUIRED and EMAIL_NOT_VERIFIED, with the right
// password only, the last one with a fresh mail; WRONG_STATE when the account was changed meanwhile; RATE_LIMITED; UNAVAILABLE when too many sign-ins wait.
func (l *Logins) ByPassword(ctx context.Context, attempt Attempt) (Outcome, error) {
	taken, err := l.throttle.password(ctx, attempt)
	if err != nil {
		return Outcome{}, err
	}
	user, err := l.accounts.ByPassword(ctx, attempt.Email, attempt.Password)
	if rightPassword(err) {
		if err := l.throttle.giveBack(ctx, taken); err != nil {
			return Outcome{}, err
		}
	}
	if err != nil {
		err = l.remind(ctx, viewer.Viewer{}, attempt.Email, attempt.Origin, err)
		return Outcome{}, l.refuse(ctx, attempt, err)
	}
	var outcome Outcome
	err = l.db.Update(ctx, func(tx *store.Tx) (err error) {
		if err := l.accounts.UnchangedTx(ctx, tx, user); err != nil { // the hash took its time
			return err
		}
		outcome, err = l.enterTx(ctx, tx, user, attempt.Client, byPassword)
		return err
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("log in: %w", err)
	}
	return outcome, nil
}

// rightPassword reports whether what [account.Accounts.ByPassword] says can only be said to whoever knows
// the password.
func rightPassword(err error) bool {
	return err == nil || fault.Is(err, fault.EmailNotVerified) || fault.Is(err, fault.AccountDisabled) ||
		fault.Is(err, fault.PasswordResetRequired)
}

// Register makes an account and signs its owner in. When addresses must be confirmed first, the
// outcome is the zero one, for an address that already has an account too. Faults: those of
// [account.Accounts.Prepare], TAKEN, RATE_LIMITED.
func (l *Logins) Register(ctx context.Context, r Registration) (Outcome, error) {
	if err := l.throttle.register(ctx, r.IP); err != nil {
		return Outcome{}, err
	}
	newcomer, err := l.accounts.Prepare(ctx, r.Registration)
	if err != nil {
		return Outcome{}, err
	}
	confirmFirst := l.accounts.EmailVerification() == account.Required
	var outcome Outcome
	err = l.db.Update(ctx, func(tx *store.Tx) error {
		if confirmFirst {
			return l.accounts.RegisterQuietlyTx(ctx, tx, newcomer, session.Network(r.IP))
		}
		user, err := l.accounts.RegisterTx(ctx, tx, newcomer, session.Network(r.IP))
		if err != nil {
			return err
		}
		outcome, err = l.enterTx(ctx, tx, user, r.Client, byPassword)
		return err
	})
	if confirmFirst && fault.Is(err, fault.Taken) { // somebody else was faster, or the address is kept for one who left it
		return Outcome{}, nil
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("register: %w", err)
	}
	return outcome, nil
}

// ByMail signs a person in who shows the code or the link of a mail: see
// [account.Accounts.RequestLoginCode]. Faults: TOKEN_INVALID, TOKEN_EXPIRED, ACCOUNT_DISABLED, REQUIRED,
// RATE_LIMITED.
func (l *Logins) ByMail(ctx context.Context, shown account.Shown, client Client) (Outcome, error) {
	return l.byMail(ctx, shown, client, func(Outcome) error { return nil })
}

// errStepDue says that a sign-in is not over.
var errStepDue = errors.New("another step is due")

// ByLink is ByMail for a link that is followed on a page of our own, which can ask for nothing more. Where
// a second factor is due the outcome is the zero one and nothing has happened: the link and the code of
// its mail stay good, to be used where the person can answer.
func (l *Logins) ByLink(ctx context.Context, token string, client Client) (Outcome, error) {
	outcome, err := l.byMail(ctx, account.Shown{Token: token}, client, func(o Outcome) error {
		if o.SignedIn() {
			return nil
		}
		return errStepDue
	})
	if errors.Is(err, errStepDue) {
		return Outcome{}, nil
	}
	return outcome, err
}

// byMail signs in by mail unless accept refuses what comes of it: then the mail stays good.
func (l *Logins) byMail(ctx context.Context, shown account.Shown, client Client, accept func(Outcome) error) (Outcome, error) {
	taken, err := l.throttle.mailed(ctx, shown, client)
	if err != nil {
		return Outcome{}, err
	}
	var outcome Outcome
	_, err = l.accounts.ProveLogIn(ctx, shown, client.Origin, func(tx *store.Tx, user account.User) (err error) {
		if outcome, err = l.enterTx(ctx, tx, user, client, byMail); err != nil {
			return err
		}
		return accept(outcome)
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("log in by mail: %w", err)
	}
	return outcome, l.throttle.giveBack(context.WithoutCancel(ctx), taken)
}

// remind sends the mail that confirms an address once more if that is why somebody was refused, as often as
// the limits of mails allow, and returns why. The address is email, or for "" that of by.
func (l *Logins) remind(ctx context.Context, by viewer.Viewer, email string, from session.Origin, why error) error {
	if !fault.Is(why, fault.EmailNotVerified) {
		return why
	}
	err := l.accounts.RequestEmailVerification(ctx, by, email, from)
	if err != nil && !fault.Is(err, fault.RateLimited) {
		return err
	}
	return why
}

// Logout ends the session of by. Fault: UNAUTHENTICATED.
func (l *Logins) Logout(ctx context.Context, by viewer.Viewer) error {
	if by.Session == "" {
		return fault.SignIn()
	}
	return l.sessions.Revoke(ctx, by, by.Session)
}

// way is how a person has shown who they are.
type way struct {
	method string // RFC 8176, as amr and the audit name it
	level  viewer.Level
}

var (
	byPassword = way{"pwd", viewer.AAL1}
	byMail     = way{"otp", viewer.AAL1} // a code or a link by mail: it begins in the mailbox
)

// enterTx decides what a person gets who has shown who they are: a session, or a challenge where a
// second factor is asked for, or one that can only enrol where the account must have a factor and has
// none. Every way in ends here. Fault: EMAIL_NOT_VERIFIED where addresses are confirmed first.
func (l *Logins) enterTx(ctx context.Context, tx *store.Tx, user account.User, client Client, by way) (Outcome, error) {
	if err := l.accounts.Confirmed(user); err != nil {
		return Outcome{}, err
	}
	if by.level >= viewer.AAL2 {
		return l.beginTx(ctx, tx, user, client, by.level, []string{by.method, "mfa"})
	}
	standing, err := l.accounts.StandingOf(ctx, tx, user)
	if err != nil {
		return Outcome{}, err
	}
	if !standing.Asked() && !standing.Enforced {
		return l.beginTx(ctx, tx, user, client, by.level, []string{by.method})
	}
	w := waiting{purpose: toSignIn, content: content{
		Shown: []string{by.method}, Level: viewer.AAL2, Mode: client.mode(), Remember: client.Remember, Device: client.Device,
	}}
	if w.methods, err = l.secondBy(ctx, tx, user, standing, by); err != nil {
		return Outcome{}, err
	}
	if standing.Asked() {
		trusted, err := l.accounts.TrustsTx(ctx, tx, user.ID, client.Trust)
		if err != nil {
			return Outcome{}, err
		}
		if trusted {
			return l.beginTx(ctx, tx, user, client, by.level, []string{by.method})
		}
	}
	if len(w.methods) == 0 {
		w.purpose, w.methods = toEnroll, l.accounts.Enrollable()
		if standing.Enrolled || len(w.methods) == 0 {
			return Outcome{}, fault.New(fault.WrongState, "", "Your second factor cannot be used with this way to sign in. Take another one.")
		}
	}
	challenge, err := l.challengeTx(ctx, tx, user, w)
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Challenge: challenge}, l.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.LoginChallenged, By: viewer.Viewer{User: user.ID}, Subject: user.ID,
		Network: session.Network(client.IP), Details: map[string]string{"method": by.method, "purpose": string(w.purpose)},
	})
}

// secondBy returns the methods by which a challenge after by can be answered.
func (l *Logins) secondBy(ctx context.Context, tx *store.Tx, user account.User, standing account.Standing, by way) ([]account.Method, error) {
	methods := beside(by.method, standing.Methods)
	if !isPasskey(by.method) {
		return methods, nil
	}
	has, err := l.accounts.HasPassword(ctx, tx, user.ID)
	if has {
		methods = append(methods, account.Password)
	}
	return methods, err
}

// mode is the mode with its default.
func (c Client) mode() session.Mode {
	if c.Mode == "" {
		return session.Bearer
	}
	return c.Mode
}

// beginTx starts a session.
func (l *Logins) beginTx(ctx context.Context, tx *store.Tx, user account.User, client Client, level viewer.Level, shown []string) (Outcome, error) {
	if err := l.recognizeTx(ctx, tx, user, client); err != nil {
		return Outcome{}, err
	}
	tokens, err := l.sessions.StartTx(ctx, tx, session.Start{
		User: user.ID, Level: level, Methods: shown, Remember: client.Remember,
		Mode: client.Mode, Device: client.Device, Origin: client.Origin,
	})
	if err != nil {
		return Outcome{}, err
	}
	err = l.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.LoginSucceeded, By: viewer.Viewer{User: user.ID}, Subject: user.ID,
		Session: tokens.Session.ID, Network: tokens.Session.Network, Details: map[string]string{"method": strings.Join(shown, " "), "agent": tokens.Session.AgentName()},
	})
	return Outcome{Tokens: tokens, User: user}, err
}

// refuse records an attempt that a person can mend and returns why it was refused. What is recorded
// is the typed address's keyed hash, known or unknown alike.
func (l *Logins) refuse(ctx context.Context, attempt Attempt, why error) error {
	f, ok := fault.As(why)
	if !ok {
		return fmt.Errorf("log in: %w", why)
	}
	if !f.Mendable() {
		return f
	}
	err := l.audit.Record(ctx, audit.Event{
		Action: audit.LoginRefused, Outcome: audit.Refused, Network: session.Network(attempt.IP),
		Details: map[string]string{"method": "pwd", "reason": string(f.Code), "identifier": l.accounts.Identifier(attempt.Email)},
	})
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return f
}
