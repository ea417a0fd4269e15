package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
)

// SendProof is the kind of job that answers a [ProofRequest].
const SendProof = "sendProof"

// requestPatience is for how long whoever asked for a mail may still wait for it.
const requestPatience = time.Hour

// ProofRequest is the wish of somebody to be sent a proof, as its job keeps it: sealed. Whether the
// address has an account is looked up by the job, so that the answer to the wish, and the time it
// takes, tells nothing.
type ProofRequest struct {
	Sealed []byte    `json:"sealed"`
	Until  time.Time `json:"until"` // nobody wants it later
}

// wish is what a ProofRequest holds.
type wish struct {
	Kind    notify.Kind   `json:"kind"`
	Email   string        `json:"email"`
	User    viewer.UserID `json:"user,omitempty"`    // who asks, of EmailChangeConfirm
	Version int64         `json:"version,omitempty"` // of the account of User as it asked
	Mode    session.Mode  `json:"mode,omitempty"`    // of LoginCode
	Network string        `json:"network,omitempty"`
}

// wishPlace is the additional data of sealed wishes.
const wishPlace = "jobs/sendProof"

// MailLimits is how often somebody may ask for a mail. A rule that is zero is the default one. It counts
// for each address, whether or not it has an account: what the mail is for by itself, and all together;
// for the IP address and for its network. The loopback address has no limit of its own.
//
// There are three things to ask for: to confirm an address (by registering, by asking again, by changing
// to it), to reset a password, and to sign in. Whoever uses up two of them leaves the third at least 2
// mails at once, then one each 20 minutes: what Address grants beyond twice Purpose.
type MailLimits struct {
	Purpose limit.Rule // to an address for one purpose; default: 5 at once, then one each 10 minutes
	Address limit.Rule // to an address in all; default: 12 at once, then one each 4 minutes
	IP      limit.Rule // default: 20 at once, then one each 2 minutes
	Network limit.Rule // default: 60 at once, then one each 40 seconds
	// Tries is how often links and codes are looked at, from an IP address; default: 30 at once, then
	// one each 2 seconds.
	Tries limit.Rule
}

func (l MailLimits) withDefaults() MailLimits {
	for _, rule := range []struct {
		set      *limit.Rule
		standard limit.Rule
	}{
		{&l.Purpose, limit.Rule{Name: "mail-purpose", Limit: 6, Per: time.Hour, Burst: 5}},
		{&l.Address, limit.Rule{Name: "mail-address", Limit: 15, Per: time.Hour, Burst: 12}},
		{&l.IP, limit.Rule{Name: "mail-ip", Limit: 30, Per: time.Hour, Burst: 20}},
		{&l.Network, limit.Rule{Name: "mail-network", Limit: 90, Per: time.Hour, Burst: 60}},
		{&l.Tries, limit.Rule{Name: "proof-ip", Limit: 30, Per: time.Minute, Burst: 30}},
	} {
		if *rule.set == (limit.Rule{}) {
			*rule.set = rule.standard
		}
	}
	return l
}

// RequestEmailVerification has a mail sent that proves that email, or for "" the address of by, reaches
// its account. The answer is the same for an address that is confirmed, and for one without an account.
// Faults: REQUIRED and INVALID at email, RATE_LIMITED.
func (a *Accounts) RequestEmailVerification(ctx context.Context, by viewer.Viewer, email string, from session.Origin) error {
	if email == "" && by.User != "" {
		user, err := a.Get(ctx, by.User)
		if err != nil {
			return err
		}
		email = user.Email
	}
	return a.request(ctx, wish{Kind: notify.VerifyEmail, Email: email}, from)
}

// RequestPasswordReset has a mail sent by which the owner of email chooses a new password. The answer
// is the same for an address without an account. Faults: as RequestEmailVerification.
func (a *Accounts) RequestPasswordReset(ctx context.Context, email string, from session.Origin) error {
	return a.request(ctx, wish{Kind: notify.PasswordReset, Email: email}, from)
}

// RequestLoginCode has a mail sent by which the owner of email signs in; mode is how whoever asks keeps
// their tokens. The answer is the same for an address without an account. Faults: as
// RequestEmailVerification.
func (a *Accounts) RequestLoginCode(ctx context.Context, email string, mode session.Mode, from session.Origin) error {
	return a.request(ctx, wish{Kind: notify.LoginCode, Email: email, Mode: mode}, from)
}

// request counts w and has a job answer it.
func (a *Accounts) request(ctx context.Context, w wish, from session.Origin) error {
	email, err := parseEmail(w.Email)
	if err != nil {
		return err
	}
	if err := a.countMail(ctx, email, w.Kind, from); err != nil {
		return err
	}
	w.Email, w.Network = email, session.Network(from.IP)
	err = a.db.Update(ctx, func(tx *store.Tx) error { return a.requestTx(ctx, tx, w) })
	if err != nil {
		return fmt.Errorf("ask for %s: %w", w.Kind, err)
	}
	return nil
}

// requestTx has a job answer w once tx is committed.
func (a *Accounts) requestTx(ctx context.Context, tx *store.Tx, w wish) error {
	if !a.post.Carries(notify.ByMail) {
		return nil
	}
	plain, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("write wish: %w", err)
	}
	sealed, err := a.ring.Seal(plain, []byte(wishPlace))
	if err != nil {
		return fmt.Errorf("write wish: %w", err)
	}
	args := ProofRequest{Sealed: sealed, Until: a.now().Add(requestPatience)}
	request, err := queue.Kind[ProofRequest, any]{Name: SendProof}.Request("", args, queue.JobOptions{Priority: queue.High})
	if err != nil {
		return err
	}
	_, err = a.queue.EnqueueTx(ctx, tx, request)
	return err
}

// countMail counts a mail of kind to email. Fault: RATE_LIMITED.
func (a *Accounts) countMail(ctx context.Context, email string, kind notify.Kind, from session.Origin) error {
	origin := byOrigin(from.IP, a.o.MailLimits.IP, a.o.MailLimits.Network)
	return a.count(ctx, append(origin, a.byAddress(email, kind)...))
}

// byAddress is the counts of a mail of kind to an address. They go by what was asked for, never by what
// the owner of the address is then told: that depends on whether there is one.
func (a *Accounts) byAddress(email string, kind notify.Kind) []limit.Request {
	purpose := ToVerifyEmail // a newcomer's, and one that somebody changes to
	switch kind {
	case notify.PasswordReset:
		purpose = ToResetPassword
	case notify.LoginCode:
		purpose = ToLogIn
	}
	identifier := a.Identifier(email)
	return []limit.Request{
		{Rule: a.o.MailLimits.Purpose, Subject: identifier + "/" + string(purpose), Cost: 1},
		{Rule: a.o.MailLimits.Address, Subject: identifier, Cost: 1},
	}
}

// countTry counts a look at a link or a code. Fault: RATE_LIMITED.
func (a *Accounts) countTry(ctx context.Context, from session.Origin) error {
	if requests := byOrigin(from.IP, a.o.MailLimits.Tries, limit.Rule{}); len(requests) > 0 {
		return a.count(ctx, requests)
	}
	return nil
}

func (a *Accounts) count(ctx context.Context, requests []limit.Request) error {
	decision, err := a.limiter.AllowAll(ctx, requests...)
	if err != nil {
		return fmt.Errorf("count request: %w", err)
	}
	if !decision.Allowed {
		return fault.Slow(decision.RetryAfter)
	}
	return nil
}

// byOrigin is the counts of where a request comes from; a zero rule counts nothing.
func byOrigin(ip netip.Addr, perIP, perNetwork limit.Rule) (requests []limit.Request) {
	if !ip.IsValid() || ip.Unmap().IsLoopback() {
		return nil
	}
	requests = []limit.Request{{Rule: perIP, Subject: ip.Unmap().WithZone("").String(), Cost: 1}}
	if perNetwork != (limit.Rule{}) {
		requests = append(requests, limit.Request{Rule: perNetwork, Subject: session.Network(ip), Cost: 1})
	}
	return requests
}

// open returns what r asks for.
func (r ProofRequest) open(ring *secret.Keyring) (w wish, err error) {
	plain, err := ring.Open(r.Sealed, []byte(wishPlace))
	if err != nil {
		return w, fmt.Errorf("open wish: %w", err)
	}
	if err := json.Unmarshal(plain, &w); err != nil {
		return w, fmt.Errorf("open wish: %w", err)
	}
	return w, nil
}

// Answer makes and posts the proof that r asks for, if the address has an account that it suits. It may
// run twice: the second proof replaces the first.
func (a *Accounts) Answer(ctx context.Context, r ProofRequest) error {
	w, err := r.open(a.ring)
	if err != nil {
		return queue.Permanent(err)
	}
	if a.now().After(r.Until) {
		return queue.Permanent(errors.New("nobody waits for the proof any more"))
	}
	err = a.db.Update(ctx, func(tx *store.Tx) error { return a.answerTx(ctx, tx, w) })
	if err != nil {
		return fmt.Errorf("answer %s: %w", w.Kind, err)
	}
	return nil
}

func (a *Accounts) answerTx(ctx context.Context, tx *store.Tx, w wish) error {
	owner, err := a.ownerTx(ctx, tx, w.Email)
	if err != nil {
		return err
	}
	if w.Kind == notify.EmailChangeConfirm {
		return a.answerChangeTx(ctx, tx, w, owner)
	}
	if owner == nil || owner.Status != Active || w.Kind == notify.VerifyEmail && owner.Verified {
		return nil
	}
	purpose := map[notify.Kind]Purpose{
		notify.VerifyEmail: ToVerifyEmail, notify.PasswordReset: ToResetPassword,
		notify.AlreadyRegistered: ToResetPassword, notify.LoginCode: ToLogIn,
	}[w.Kind]
	return a.mailProofTx(ctx, tx, *owner, w, purpose, owner.Email)
}

// answerChangeTx sends the confirmation of a change to the new address, or tells its owner that
// somebody wants it. A wish is worth nothing once the account has changed since: its owner may have said
// "this was not me", or chosen another password, while it waited.
func (a *Accounts) answerChangeTx(ctx context.Context, tx *store.Tx, w wish, owner *User) error {
	if owner != nil && owner.ID != w.User {
		w.Kind = notify.AlreadyRegistered
		if owner.Status != Active {
			return nil
		}
		return a.mailProofTx(ctx, tx, *owner, w, ToResetPassword, owner.Email)
	}
	asker, err := a.LockTx(ctx, tx, w.User)
	if fault.Is(err, fault.NotFound) || err == nil && (asker.Status != Active || asker.version != w.Version || asker.Email == w.Email) {
		return nil
	}
	if err != nil {
		return err
	}
	if kept, err := a.keptForTx(ctx, tx, w.Email, w.User); err != nil || kept {
		return err
	}
	return a.mailProofTx(ctx, tx, asker, w, ToChangeEmail, w.Email)
}

// mailProofTx makes a proof and posts it: to the address as its account has it, never as a stranger
// typed it, who may know letters that fold to the same and lead to a mailbox of their own.
func (a *Accounts) mailProofTx(ctx context.Context, tx *store.Tx, user User, w wish, purpose Purpose, to string) error {
	proof, err := a.issueTx(ctx, tx, user.ID, purpose, anySlot, ProofDetail{Email: to, Mode: w.Mode})
	if err != nil {
		return err
	}
	m := notify.Message{
		Kind: w.Kind, Locale: user.Locale, To: to, Name: user.Name, Link: proof.link, Minutes: proof.minutes, Code: proof.code,
		Network: w.Network, At: a.now(), // who asked, as far as can be told
	}
	if err := a.PostTx(ctx, tx, m); err != nil {
		return err
	}
	return a.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.ProofSent, Subject: user.ID, Network: w.Network, Details: map[string]string{"purpose": string(purpose)},
	})
}

// ownerTx returns the account of an address, nil when there is none.
func (a *Accounts) ownerTx(ctx context.Context, tx *store.Tx, email string) (*User, error) {
	r, err := store.One(ctx, tx, selectByEmail, scanSecret, a.emailIndex(email))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find account: %w", err)
	}
	user, err := a.open(r.row)
	return &user, err
}

// userTx returns the account id as tx sees it, or store.ErrNotFound.
func (a *Accounts) userTx(ctx context.Context, tx *store.Tx, id viewer.UserID) (User, error) {
	r, err := store.One(ctx, tx, selectByID, scanRow, id)
	if err != nil {
		return User{}, fmt.Errorf("read account %s: %w", id, err)
	}
	return a.open(r)
}
