package login

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Limits is how often something may be tried. A rule that is zero is the default one.
//
// A sign-in counts three times: for the typed address, for the IP address and for its network (IPv4
// /24, IPv6 /48). The loopback address has no limit of its own: it is this machine, or a proxy that was
// not named as trusted and stands for everybody at once.
//
// # Of an address
//
// Attempts from a known device (the id and the browser of a sign-in of the last 90 days) count apart, so
// that nobody who guesses can lock the owner out there; a sign-in starts that device's count afresh.
//
// All others are strangers and share one count, whether or not the address has an account. It comes back
// with time alone. An attempt that shows the right password or code gives its unit back: so whoever
// watches the count sees as much of the owner's sign-ins as of an address that nobody has. An owner on a
// new device, or whose client names none, is a stranger, and waits while others guess; links by mail,
// passkeys and providers do not count for the address.
type Limits struct {
	Identifier limit.Rule // sign-ins for an address; default: 20 at once, then one each 30 s
	IP         limit.Rule // sign-ins from an IP address; default: 60 at once, then one a second
	Network    limit.Rule // sign-ins from a network; default: 300 at once, then five a second

	RegisterIP      limit.Rule // accounts made from an IP address; default: 20 at once, then one a minute
	RegisterNetwork limit.Rule // accounts made from a network; default: 100 at once, then ten a minute

	// Answers and codes count for the account and, apart, for each known device and each session that steps
	// up: whoever knows the password can neither use up the owner's tries, nor wait until the owner has set
	// their own back. A right answer gives back what it and its code have taken.
	Answers        limit.Rule // tries of second factors; default: 50 at once, then one each 5 min
	AnswersNetwork limit.Rule // those from one network; default: 10 at once, then one a minute
	Codes          limit.Rule // codes by mail and SMS; default: 20 at once, then one each 5 min
	CodesNetwork   limit.Rule // those asked for from one network; default: 5 at once, then one each 2 min
	// Sign-ins at a provider that were begun, and so flows that wait, at most twice as many: default 30 in
	// ten minutes from an IP address, 300 from a network.
	OAuthIP, OAuthNetwork limit.Rule
}

func (l Limits) withDefaults() Limits {
	for _, rule := range []struct {
		set      *limit.Rule
		standard limit.Rule
	}{
		{&l.Identifier, limit.Rule{Name: "login-identifier", Limit: 2, Per: time.Minute, Burst: 20}},
		{&l.IP, limit.Rule{Name: "login-ip", Limit: 60, Per: time.Minute, Burst: 60}},
		{&l.Network, limit.Rule{Name: "login-network", Limit: 300, Per: time.Minute, Burst: 300}},
		{&l.RegisterIP, limit.Rule{Name: "register-ip", Limit: 1, Per: time.Minute, Burst: 20}},
		{&l.RegisterNetwork, limit.Rule{Name: "register-network", Limit: 10, Per: time.Minute, Burst: 100}},
		{&l.Answers, limit.Rule{Name: "mfa-answers", Limit: 1, Per: 5 * time.Minute, Burst: 50}},
		{&l.AnswersNetwork, limit.Rule{Name: "mfa-answers-network", Limit: 1, Per: time.Minute, Burst: 10}},
		{&l.Codes, limit.Rule{Name: "mfa-codes", Limit: 1, Per: 5 * time.Minute, Burst: 20}},
		{&l.CodesNetwork, limit.Rule{Name: "mfa-codes-network", Limit: 1, Per: 2 * time.Minute, Burst: 5}},
		{&l.OAuthIP, limit.Rule{Name: "oauth-ip", Limit: 30, Per: 10 * time.Minute}},
		{&l.OAuthNetwork, limit.Rule{Name: "oauth-network", Limit: 300, Per: 10 * time.Minute}},
	} {
		if *rule.set == (limit.Rule{}) {
			*rule.set = rule.standard
		}
	}
	return l
}

// throttle counts attempts before they cost anything.
type throttle struct {
	limiter  *limit.Limiter
	limits   Limits
	accounts *account.Accounts
	sessions *session.Sessions
}

// password counts a sign-in with a password, and returns what to give back should it be right. Fault:
// RATE_LIMITED.
func (t throttle) password(ctx context.Context, attempt Attempt) (taken, error) {
	subject, err := t.subject(ctx, attempt)
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	own := limit.Request{Rule: t.limits.Identifier, Subject: subject, Cost: 1}
	return taken{own}, t.count(ctx, append(t.origin(attempt.IP, t.limits.IP, t.limits.Network), own))
}

// mailed counts a sign-in by mail: by code as one with a password, since a code can be guessed; by link,
// which cannot, for where it comes from. Fault: RATE_LIMITED.
func (t throttle) mailed(ctx context.Context, shown account.Shown, client Client) (taken, error) {
	if shown.Token == "" {
		return t.password(ctx, Attempt{Email: shown.Email, Client: client})
	}
	return nil, t.count(ctx, t.origin(client.IP, t.limits.IP, t.limits.Network))
}

// register counts a registration. Fault: RATE_LIMITED.
func (t throttle) register(ctx context.Context, ip netip.Addr) error {
	return t.count(ctx, t.origin(ip, t.limits.RegisterIP, t.limits.RegisterNetwork))
}

// subject names what the attempts for an address are counted under: the address, and for a known device
// the last sign-in with it. A stranger's attempt takes the same statements whether or not there is an
// account.
func (t throttle) subject(ctx context.Context, attempt Attempt) (string, error) {
	identifier := t.accounts.Identifier(attempt.Email)
	if attempt.Device.ID == "" {
		return identifier, nil
	}
	user, err := t.accounts.IDOf(ctx, attempt.Email)
	if err != nil {
		return "", err
	}
	return t.onDevice(ctx, identifier, user, attempt.Device, attempt.Origin)
}

// onDevice returns the subject that stands for user with a device: all itself, or a part of its own for one
// that is known, from its last sign-in on.
func (t throttle) onDevice(ctx context.Context, all string, user viewer.UserID, device session.Device, from session.Origin) (string, error) {
	if device.ID == "" {
		return all, nil
	}
	last, err := t.sessions.LastFrom(ctx, user, device.ID, from)
	if err != nil || last.IsZero() {
		return all, err
	}
	return all + part(last), nil
}

// part names what a device has of a count by itself, by its last sign-in.
func part(last time.Time) string { return "/" + strconv.FormatInt(last.UnixMicro(), 10) }

// answer counts a try of a second factor by m, and returns what to give back should it be right: the try,
// and the code that was sent for it. Fault: RATE_LIMITED.
func (t throttle) answer(ctx context.Context, w waiting, m account.Method, from session.Origin) (taken, error) {
	try, err := t.waiting(ctx, w, from, t.limits.Answers, t.limits.AnswersNetwork)
	if err != nil {
		return nil, err
	}
	if err := t.count(ctx, try); err != nil || m != w.codeBy {
		return try, err
	}
	code, err := t.waiting(ctx, w, from, t.limits.Codes, t.limits.CodesNetwork)
	return append(try, code...), err
}

// code counts a code that is asked for. Fault: RATE_LIMITED.
func (t throttle) code(ctx context.Context, w waiting, from session.Origin) error {
	codes, err := t.waiting(ctx, w, from, t.limits.Codes, t.limits.CodesNetwork)
	if err != nil {
		return err
	}
	return t.count(ctx, codes)
}

// waiting is the counts of something about a challenge: for the session that asked for it, or for the
// account and the device as sign-ins are, in all and from this network.
func (t throttle) waiting(ctx context.Context, w waiting, from session.Origin, all, perNetwork limit.Rule) ([]limit.Request, error) {
	subject := string(w.session)
	if w.session == "" {
		var err error
		if subject, err = t.onDevice(ctx, string(w.user), w.user, w.Device, from); err != nil {
			return nil, fmt.Errorf("count answer: %w", err)
		}
	}
	return []limit.Request{
		{Rule: all, Subject: subject, Cost: 1},
		{Rule: perNetwork, Subject: subject + "/" + session.Network(from.IP), Cost: 1},
	}, nil
}

// taken is what an attempt has taken of counts that a right one leaves as they were.
type taken []limit.Request

// giveBack returns what was taken: the attempt was right.
func (t throttle) giveBack(ctx context.Context, back taken) error {
	for _, r := range back {
		if err := t.limiter.GiveBack(ctx, r.Rule, r.Subject, r.Cost); err != nil {
			return fmt.Errorf("give attempt back: %w", err)
		}
	}
	return nil
}

// origin is the counts of where an attempt comes from.
func (t throttle) origin(ip netip.Addr, perIP, perNetwork limit.Rule) []limit.Request {
	if !ip.IsValid() || ip.Unmap().IsLoopback() {
		return nil
	}
	return []limit.Request{
		{Rule: perIP, Subject: ip.Unmap().WithZone("").String(), Cost: 1},
		{Rule: perNetwork, Subject: session.Network(ip), Cost: 1},
	}
}

func (t throttle) count(ctx context.Context, requests []limit.Request) error {
	if len(requests) == 0 {
		return nil
	}
	decision, err := t.limiter.AllowAll(ctx, requests...)
	if err != nil {
		return fmt.Errorf("count attempt: %w", err)
	}
	if !decision.Allowed {
		return fault.Slow(decision.RetryAfter)
	}
	return nil
}

// profiles limits how often a person may have a provider asked about them.
var profiles = limit.Rule{Name: "identity-profile", Limit: 1, Per: time.Minute, Burst: 10}

// oauth counts a flow that begins. Fault: RATE_LIMITED.
func (t throttle) oauth(ctx context.Context, ip netip.Addr) error {
	return t.count(ctx, t.origin(ip, t.limits.OAuthIP, t.limits.OAuthNetwork))
}

// completion counts a flow that ends, as any sign-in. Fault: RATE_LIMITED.
func (t throttle) completion(ctx context.Context, ip netip.Addr) error {
	return t.count(ctx, t.origin(ip, t.limits.IP, t.limits.Network))
}

// profile counts a question about user. Fault: RATE_LIMITED.
func (t throttle) profile(ctx context.Context, user viewer.UserID) error {
	return t.count(ctx, []limit.Request{{Rule: profiles, Subject: string(user), Cost: 1}})
}

// stepUps limits how many challenges a session asks for.
var stepUps = limit.Rule{Name: "step-up", Limit: 10, Per: time.Minute, Burst: 20}

// stepUp counts a challenge that a session asks for, also a suspended one. Fault: RATE_LIMITED.
func (t throttle) stepUp(ctx context.Context, by viewer.Viewer) error {
	return t.count(ctx, []limit.Request{{Rule: stepUps, Subject: string(by.Session + by.Suspended), Cost: 1}})
}
