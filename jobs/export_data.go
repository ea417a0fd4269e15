package jobs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"gatehouse/account"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
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
		Unmetered:   true,
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
