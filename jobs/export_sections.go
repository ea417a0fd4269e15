package jobs

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
)

// Sections returns what the rooms below keep of a person; rooms beside add their own.
func Sections(accounts *account.Accounts, sessions *session.Sessions, log *audit.Log, jobs *queue.Queue) []Section {
	k := kept{accounts, sessions, log, jobs}
	return []Section{
		{"account", k.account},
		{"identities", k.identities},
		{"factors", k.factors},
		{"trustedDevices", k.trustedDevices},
		{"knownDevices", k.knownDevices},
		{"sessions", k.allSessions},
		{"machines", k.machines},
		{"events", k.events},
		{"jobs", k.allJobs},
		{"schedules", k.schedules},
	}
}

// kept is where a person's data stands. Its methods are the Each of sections.
type kept struct {
	accounts *account.Accounts
	sessions *session.Sessions
	log      *audit.Log
	jobs     *queue.Queue
}

// administrator stands for whoever has acted as the person, or for them: who it was is not the person's data.
const administrator = "an administrator"

type accountEntry struct {
	ID        viewer.UserID  `json:"id"`
	Email     string         `json:"email"`
	Verified  bool           `json:"emailVerified"`
	Name      string         `json:"name,omitempty"`
	Locale    string         `json:"locale"`
	Roles     []viewer.Role  `json:"roles"`
	Status    account.Status `json:"status"`
	CreatedAt time.Time      `json:"createdAt"`
	UpdatedAt time.Time      `json:"updatedAt"`
	DeletesAt time.Time      `json:"deletesAt,omitzero"`
}

func (k kept) account(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	u, err := k.accounts.Get(ctx, user)
	if err != nil {
		return err
	}
	return emit(accountEntry{
		ID: u.ID, Email: u.Email, Verified: u.Verified, Name: u.Name, Locale: u.Locale, Roles: u.Roles,
		Status: u.Status, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, DeletesAt: u.DeletesAt,
	})
}

type identityEntry struct {
	ID            account.IdentityID `json:"id"`
	Provider      string             `json:"provider"`
	Issuer        string             `json:"issuer"`
	Subject       string             `json:"subject"`
	Email         string             `json:"email,omitempty"`
	EmailVerified bool               `json:"emailVerified"`
	Name          string             `json:"name,omitempty"`
	Username      string             `json:"username,omitempty"`
	Picture       string             `json:"picture,omitempty"`
	LinkedAt      time.Time          `json:"linkedAt"`
	UsedAt        time.Time          `json:"usedAt"`
	ProfileAt     time.Time          `json:"profileAt"`
}

func (k kept) identities(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	all, err := k.accounts.Identities(ctx, viewer.System(), []viewer.UserID{user})
	if err != nil {
		return err
	}
	for _, i := range all[user] {
		err := emit(identityEntry{
			i.ID, i.Provider, i.Issuer, i.Subject, i.Profile.Email, i.Profile.EmailVerified, i.Profile.Name, i.Profile.Username,
			i.Profile.Picture, i.LinkedAt, i.UsedAt, i.ProfileAt,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type factorEntry struct {
	ID          account.FactorID   `json:"id"`
	Kind        account.FactorKind `json:"kind"`
	Name        string             `json:"name"`
	PhoneNumber string             `json:"phoneNumber,omitempty"`
	CreatedAt   time.Time          `json:"createdAt"`
	LastUsedAt  time.Time          `json:"lastUsedAt,omitzero"`
}

func (k kept) factors(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	all, err := k.accounts.Factors(ctx, viewer.System(), []viewer.UserID{user})
	if err != nil {
		return err
	}
	for _, f := range all[user] {
		number, err := k.accounts.NumberOf(ctx, f)
		if err != nil {
			return err
		}
		if err := emit(factorEntry{f.ID, f.Kind, f.Name, number, f.CreatedAt, f.LastUsedAt}); err != nil {
			return err
		}
	}
	return nil
}

type trustedDeviceEntry struct {
	ID         account.TrustedDeviceID `json:"id"`
	Name       string                  `json:"name,omitempty"`
	UserAgent  string                  `json:"userAgent"`
	Network    string                  `json:"network"`
	CreatedAt  time.Time               `json:"createdAt"`
	LastUsedAt time.Time               `json:"lastUsedAt"`
	ExpiresAt  time.Time               `json:"expiresAt"`
}

func (k kept) trustedDevices(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	all, err := k.accounts.TrustedDevices(ctx, viewer.System(), []viewer.UserID{user})
	if err != nil {
		return err
	}
	for _, d := range all[user] {
		if err := emit(trustedDeviceEntry{d.ID, d.Name, d.Agent, d.Network, d.CreatedAt, d.LastUsedAt, d.ExpiresAt}); err != nil {
			return err
		}
	}
	return nil
}

// knownDeviceEntry is all there is: which device it was is kept as a hash.
type knownDeviceEntry struct {
	FirstSeenAt time.Time `json:"firstSeenAt"`
	LastSeenAt  time.Time `json:"lastSeenAt"`
}

func (k kept) knownDevices(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	all, err := k.sessions.KnownDevices(ctx, user)
	if err != nil {
		return err
	}
	for _, d := range all {
		if err := emit(knownDeviceEntry(d)); err != nil {
			return err
		}
	}
	return nil
}

type sessionEntry struct {
	ID         viewer.SessionID `json:"id"`
	By         string           `json:"by,omitempty"` // empty: the person
	CreatedAt  time.Time        `json:"createdAt"`
	LastSeenAt time.Time        `json:"lastSeenAt"`
	ExpiresAt  time.Time        `json:"expiresAt"`
	EndedAt    time.Time        `json:"endedAt,omitzero"`
	Reason     session.Reason   `json:"reason,omitempty"`
	Assurance  string           `json:"assurance"`
	Methods    []string         `json:"methods"`
	Network    string           `json:"network,omitempty"`
	UserAgent  string           `json:"userAgent,omitempty"`
	DeviceID   string           `json:"deviceId,omitempty"`
	DeviceName string           `json:"deviceName,omitempty"`
}

func (k kept) allSessions(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	all, err := k.sessions.AllOf(ctx, user)
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := emit(sessionEntryOf(s)); err != nil {
			return err
		}
	}
	return nil
}

func sessionEntryOf(s session.Session) sessionEntry {
	entry := sessionEntry{
		ID: s.ID, CreatedAt: s.CreatedAt, LastSeenAt: s.LastSeenAt, ExpiresAt: s.ExpiresAt, EndedAt: s.RevokedAt, Reason: s.Reason,
		Assurance: s.Level.String(), Methods: s.Methods,
	}
	if s.Actor != "" { // where the administrator was, and with what, is theirs
		entry.By = administrator
		return entry
	}
	entry.Network, entry.UserAgent, entry.DeviceID, entry.DeviceName = s.Network, s.Agent, s.Device.ID, s.Device.Name
	return entry
}

type machineEntry struct {
	ID         viewer.MachineID `json:"id"`
	Name       string           `json:"name"`
	Scopes     []viewer.Scope   `json:"scopes"`
	CreatedAt  time.Time        `json:"createdAt"`
	LastUsedAt time.Time        `json:"lastUsedAt,omitzero"`
	ExpiresAt  time.Time        `json:"expiresAt,omitzero"`
}

func (k kept) machines(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	keys, err := k.sessions.APIKeys(ctx, viewer.System(), []viewer.UserID{user})
	if err != nil {
		return err
	}
	for _, key := range keys[user] {
		if err := emit(machineEntry{key.ID, key.Name, key.Scopes, key.CreatedAt, key.LastUsedAt, key.ExpiresAt}); err != nil {
			return err
		}
	}
	services, err := k.sessions.ServiceAccounts(ctx, viewer.System(), []viewer.UserID{user})
	if err != nil {
		return err
	}
	for _, a := range services[user] {
		if err := emit(machineEntry{ID: a.ID, Name: a.Name, Scopes: a.Scopes, CreatedAt: a.CreatedAt, LastUsedAt: a.LastUsedAt}); err != nil {
			return err
		}
	}
	return nil
}

type eventEntry struct {
	At      time.Time         `json:"at"`
	Action  audit.Action      `json:"action"`
	Outcome audit.Outcome     `json:"outcome"`
	Actor   string            `json:"actor"`
	Session viewer.SessionID  `json:"sessionId,omitempty"`
	Network string            `json:"network,omitempty"`
	Details map[string]string `json:"details,omitempty"`
}

func (k kept) events(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	return k.log.Each(ctx, user, func(e audit.Entry) error { return emit(eventEntryOf(e, user)) })
}

// eventEntryOf names no other account.
func eventEntryOf(e audit.Entry, user viewer.UserID) eventEntry {
	entry := eventEntry{e.At, e.Action, e.Outcome, e.Actor, e.Session, e.Network, map[string]string{}}
	if others(e.Actor, user) {
		entry.Actor, entry.Session, entry.Network = administrator, "", ""
	}
	for name, value := range e.Details {
		if !others(value, user) {
			entry.Details[name] = value
		}
	}
	return entry
}

// others reports whether id is that of another account than user.
func others(id string, user viewer.UserID) bool {
	return strings.HasPrefix(id, "usr_") && id != string(user)
}

type jobEntry struct {
	ID         queue.ID        `json:"id"`
	Owner      viewer.UserID   `json:"ownerId"`
	Kind       string          `json:"kind"`
	State      queue.State     `json:"state"`
	Input      json.RawMessage `json:"input"`
	Result     json.RawMessage `json:"result,omitempty"`
	CreatedAt  time.Time       `json:"createdAt"`
	FinishedAt time.Time       `json:"finishedAt,omitzero"`
}

// allJobs has those of the person's service accounts too.
func (k kept) allJobs(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	services, err := k.sessions.ServicesOf(ctx, user)
	if err != nil {
		return err
	}
	owners := []viewer.UserID{user}
	for _, service := range services {
		owners = append(owners, viewer.UserID(service))
	}
	for _, owner := range owners {
		err := k.jobs.EachOf(ctx, owner, func(j *queue.Job) error {
			return emit(jobEntry{j.ID, j.Owner, j.Kind, j.State, j.Input, j.Result, j.CreatedAt, j.FinishedAt})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type scheduleEntry struct {
	ID        queue.ScheduleID `json:"id"`
	Name      string           `json:"name"`
	Kind      string           `json:"kind"`
	Arguments json.RawMessage  `json:"arguments"`
	Cron      string           `json:"cron"`
	TimeZone  string           `json:"timeZone"`
	Paused    bool             `json:"paused"`
	CreatedAt time.Time        `json:"createdAt"`
}

func (k kept) schedules(ctx context.Context, user viewer.UserID, emit func(any) error) error {
	return k.jobs.EachScheduleOf(ctx, user, func(s *queue.Schedule) error {
		return emit(scheduleEntry{s.ID, s.Name, s.Kind, s.Arguments, s.Cron, s.TimeZone, s.Paused, s.CreatedAt})
	})
}
