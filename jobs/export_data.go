package jobs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
)

// Section is a part of the copy of a person's data: a list under a name.
type Section struct {
	Name string // in small letters, as a key of the JSON object
	// Each calls emit with every entry that is kept of user; an entry is written as JSON and holds no
	// secret: no hash, no token, no key.
	Each func(ctx context.Context, user viewer.UserID, emit func(entry any) error) error
}

// Exported is the result of an exportData job.
type Exported struct {
	Sections []ExportedSection `json:"sections"`
}

// ExportedSection says how much there is of one kind.
type ExportedSection struct {
	Name    string `json:"name"`
	Entries int64  `json:"entries"`
}

// exportsData copies all that the deployment knows of the job's owner into data.json, one list a
// section, and mails a link to it.
func exportsData(accounts func() *account.Accounts, sections func() []Section, now func() time.Time) queue.Definition {
	return queue.Kind[account.ExportArgs, Exported]{
		Name:        account.ExportData,
		Description: "Copies everything that is known of an account into a JSON file.",
		MaxAttempts: 4,
		Deadline:    30 * time.Minute,
		Retention:   48 * time.Hour, // a copy of personal data is not kept for longer than its link and a day
		Handle: func(ctx context.Context, run *queue.Run, _ account.ExportArgs) (Exported, error) {
			file, err := run.Create(ctx, "data.json", "application/json")
			if err != nil {
				return Exported{}, err
			}
			all := sections()
			run.Report(0, int64(len(all)), "reading")
			exported, err := writeExport(ctx, file, run, all, now())
			if err != nil {
				return Exported{}, err
			}
			return exported, accounts().AnnounceExport(ctx, run.Job)
		},
	}.Define()
}

// writeExport writes one JSON object: the account's id, the moment, and each section as a list.
func writeExport(ctx context.Context, to io.Writer, run *queue.Run, sections []Section, at time.Time) (Exported, error) {
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "{\n\"accountId\": %q,\n\"exportedAt\": %q", run.Job.Owner, at.UTC().Format(time.RFC3339))
	var exported Exported
	for i, s := range sections {
		fmt.Fprintf(w, ",\n%q: [", s.Name)
		var entries int64
		err := s.Each(ctx, run.Job.Owner, func(entry any) error {
			text, err := json.Marshal(entry)
			if err != nil {
				return err
			}
			if entries++; entries > 1 {
				w.WriteByte(',')
			}
			w.WriteByte('\n')
			_, err = w.Write(text)
			return err
		})
		if err != nil {
			return Exported{}, fmt.Errorf("export %s: %w", s.Name, err)
		}
		w.WriteString("]")
		exported.Sections = append(exported.Sections, ExportedSection{s.Name, entries})
		run.Report(int64(i+1), int64(len(sections)), "reading")
	}
	w.WriteString("\n}\n")
	return exported, w.Flush() // remembers the first error of all writes
}

// Sections returns what the rooms below keep of a person; rooms beside add their own.
func Sections(accounts *account.Accounts, sessions *session.Sessions, log *audit.Log, jobs *queue.Queue) []Section {
	return []Section{
		{"account", func(ctx context.Context, user viewer.UserID, emit func(any) error) error {
			u, err := accounts.Get(ctx, user)
			if err != nil {
				return err
			}
			return emit(accountEntry{
				ID: u.ID, Email: u.Email, Verified: u.Verified, Name: u.Name, Locale: u.Locale, Roles: u.Roles,
				Status: u.Status, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, DeletesAt: u.DeletesAt,
			})
		}},
		{"sessions", func(ctx context.Context, user viewer.UserID, emit func(any) error) error {
			all, err := sessions.AllOf(ctx, user)
			for _, s := range all {
				if err := emit(sessionEntryOf(s)); err != nil {
					return err
				}
			}
			return err
		}},
		{"machines", func(ctx context.Context, user viewer.UserID, emit func(any) error) error {
			keys, err := sessions.APIKeys(ctx, viewer.System(), []viewer.UserID{user})
			if err != nil {
				return err
			}
			for _, k := range keys[user] {
				if err := emit(machineEntry{k.ID, k.Name, k.Scopes, k.CreatedAt, k.LastUsedAt, k.ExpiresAt}); err != nil {
					return err
				}
			}
			services, err := sessions.ServiceAccounts(ctx, viewer.System(), []viewer.UserID{user})
			for _, a := range services[user] {
				if err := emit(machineEntry{ID: a.ID, Name: a.Name, Scopes: a.Scopes, CreatedAt: a.CreatedAt, LastUsedAt: a.LastUsedAt}); err != nil {
					return err
				}
			}
			return err
		}},
		{"events", func(ctx context.Context, user viewer.UserID, emit func(any) error) error {
			return log.Each(ctx, user, func(e audit.Entry) error {
				return emit(eventEntry{e.At, e.Action, e.Outcome, e.Actor, e.Session, e.Network, e.Details})
			})
		}},
		{"jobs", func(ctx context.Context, user viewer.UserID, emit func(any) error) error {
			return jobs.EachOf(ctx, user, func(j *queue.Job) error {
				return emit(jobEntry{j.ID, j.Kind, j.State, j.Input, j.Result, j.CreatedAt, j.FinishedAt})
			})
		}},
	}
}

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

type sessionEntry struct {
	ID         viewer.SessionID `json:"id"`
	CreatedAt  time.Time        `json:"createdAt"`
	LastSeenAt time.Time        `json:"lastSeenAt"`
	ExpiresAt  time.Time        `json:"expiresAt"`
	EndedAt    time.Time        `json:"endedAt,omitzero"`
	Reason     session.Reason   `json:"reason,omitempty"`
	Assurance  string           `json:"assurance"`
	Methods    []string         `json:"methods"`
	Network    string           `json:"network"`
	UserAgent  string           `json:"userAgent"`
	DeviceID   string           `json:"deviceId,omitempty"`
	DeviceName string           `json:"deviceName,omitempty"`
}

func sessionEntryOf(s session.Session) sessionEntry {
	return sessionEntry{
		ID: s.ID, CreatedAt: s.CreatedAt, LastSeenAt: s.LastSeenAt, ExpiresAt: s.ExpiresAt, EndedAt: s.RevokedAt, Reason: s.Reason,
		Assurance: s.Level.String(), Methods: s.Methods, Network: s.Network, UserAgent: s.Agent, DeviceID: s.Device.ID, DeviceName: s.Device.Name,
	}
}

type machineEntry struct {
	ID         viewer.MachineID `json:"id"`
	Name       string           `json:"name"`
	Scopes     []viewer.Scope   `json:"scopes"`
	CreatedAt  time.Time        `json:"createdAt"`
	LastUsedAt time.Time        `json:"lastUsedAt,omitzero"`
	ExpiresAt  time.Time        `json:"expiresAt,omitzero"`
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

type jobEntry struct {
	ID         queue.ID        `json:"id"`
	Kind       string          `json:"kind"`
	State      queue.State     `json:"state"`
	Input      json.RawMessage `json:"input"`
	Result     json.RawMessage `json:"result,omitempty"`
	CreatedAt  time.Time       `json:"createdAt"`
	FinishedAt time.Time       `json:"finishedAt,omitzero"`
}
