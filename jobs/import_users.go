package jobs

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gatehouse/account"
	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/jobs/csvprofile"
	"gatehouse/queue"
)

// ImportArgs are the arguments of importUsers; the list is the job's input.
type ImportArgs struct {
	AllowRoles []viewer.Role `json:"allowRoles,omitempty"`
}

// ImportSummary is what importUsers brings.
type ImportSummary struct {
	Created int            `json:"created"`
	Skipped int            `json:"skipped"`
	Failed  int            `json:"failed"`
	Rejects []ImportReject `json:"rejects"` // the first maxImportListed
}

// ImportReject is a row of which no account was made. The reason repeats nothing of it.
type ImportReject struct {
	Line   int64  `json:"line"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// ImportUsers is the kind importUsers: it makes accounts of a CSV, [account.MaxImport] rows at a time, in
// memory that does not grow with it. Progress counts bytes. An attempt that is cut off is begun again and
// passes over what is done, which it counts as if it had done it itself. The list holds hashes of
// passwords, and the rejects addresses: both go with the job, after a day.
var ImportUsers = queue.Kind[ImportArgs, ImportSummary]{
	Name:        account.ImportUsers,
	Description: "Makes accounts from a CSV; addresses that have one are skipped.",
	MaxAttempts: 4,
	Deadline:    2 * time.Hour,
	Retention:   24 * time.Hour,
}

// The bounds of a list.
const (
	maxImportColumns = 50
	maxImportField   = 4 << 10  // bytes, as written
	maxImportRow     = 32 << 10 // the same
	maxImportListed  = 100      // rejects in the summary
	maxImportRejects = 1_000_000
	maxRejectEmail   = 254 // bytes of an address in rejects.csv
)

func importOptions() csvprofile.Options {
	return csvprofile.Options{MaxColumns: maxImportColumns, MaxFieldBytes: maxImportField, MaxRecordBytes: maxImportRow}
}

// importsUsers returns ImportUsers with its handler.
func importsUsers(accounts func() *account.Accounts) queue.Definition {
	kind := ImportUsers
	kind.Handle = func(ctx context.Context, run *queue.Run, args ImportArgs) (ImportSummary, error) {
		if accounts() == nil {
			return ImportSummary{}, queue.Permanent(errors.New("this process has no accounts"))
		}
		inputs, err := run.Inputs(ctx)
		if err != nil {
			return ImportSummary{}, err
		}
		if len(inputs) != 1 {
			return ImportSummary{}, queue.Permanent(fmt.Errorf("the job has %d input files", len(inputs)))
		}
		list, err := run.Open(ctx, inputs[0])
		if err != nil {
			return ImportSummary{}, err
		}
		defer list.Close()
		return importUsers(ctx, run, accounts(), list, inputs[0].Bytes, args)
	}
	return kind.Define()
}

func importUsers(ctx context.Context, run *queue.Run, accounts *account.Accounts, list io.Reader, total int64, args ImportArgs) (ImportSummary, error) {
	file, err := run.Create(ctx, "rejects.csv", csvText)
	if err != nil {
		return ImportSummary{}, err
	}
	i := &userImport{
		accounts: accounts, terms: account.Import{Job: run.Job.ID, By: run.Job.Owner, Roles: args.AllowRoles}, rejects: csv.NewWriter(file),
	}
	options := importOptions()
	options.Progress = func(read int64) { run.Report(read, total, "importing") }
	run.Report(0, total, "importing")
	if err := i.read(ctx, list, options); err != nil {
		return ImportSummary{}, importFault(err)
	}
	run.Report(total, total, "done")
	s := i.summary
	return s, accounts.RecordImport(ctx, i.terms, s.Created, s.Skipped, s.Failed)
}

// userImport is one reading of a list.
type userImport struct {
	accounts *account.Accounts
	terms    account.Import
	columns  []importColumn
	batch    []account.ImportRow
	rejects  *csv.Writer
	written  int // rows of rejects
	summary  ImportSummary
}

// read imports the whole list.
func (i *userImport) read(ctx context.Context, list io.Reader, o csvprofile.Options) error {
	err := i.rejects.Write([]string{"line", "code", "reason", "email"})
	if err != nil {
		return fmt.Errorf("write rejects: %w", err)
	}
	err = csvprofile.Each(ctx, list, o, func(names []string) (err error) {
		i.columns, err = importColumns(names)
		return err
	}, func(row csvprofile.Row) error { return i.row(ctx, row) })
	if err == nil {
		err = i.flush(ctx)
	}
	if err != nil {
		return err
	}
	i.rejects.Flush()
	return i.rejects.Error()
}

// row takes one row of the list.
func (i *userImport) row(ctx context.Context, row csvprofile.Row) error {
	if row.Reason != "" {
		return i.reject(account.ImportRow{Line: row.Line}, string(row.Reason), row.Message)
	}
	wanted := account.ImportRow{Line: row.Line}
	for n, column := range i.columns {
		*column(&wanted) = strings.TrimSpace(row.Fields[n])
	}
	if i.batch = append(i.batch, wanted); len(i.batch) < account.MaxImport {
		return nil
	}
	return i.flush(ctx)
}

// flush imports the rows that were gathered.
func (i *userImport) flush(ctx context.Context) error {
	refused, err := i.accounts.Import(ctx, i.terms, i.batch)
	if err != nil {
		return err
	}
	for n, why := range refused {
		switch {
		case why == nil:
			i.summary.Created++
		default:
			if err := i.reject(i.batch[n], string(why.Code), why.Message); err != nil {
				return err
			}
		}
	}
	i.batch = i.batch[:0]
	return nil
}

// reject counts a row that was not imported and lists it.
func (i *userImport) reject(row account.ImportRow, code, reason string) error {
	if code == string(fault.Taken) {
		i.summary.Skipped++
	} else {
		i.summary.Failed++
	}
	if len(i.summary.Rejects) < maxImportListed {
		i.summary.Rejects = append(i.summary.Rejects, ImportReject{row.Line, code, reason})
	}
	if i.written++; i.written > maxImportRejects {
		return nil
	}
	email := strings.ToValidUTF8(row.Email[:min(len(row.Email), maxRejectEmail)], "")
	return i.rejects.Write([]string{strconv.FormatInt(row.Line, 10), code, reason, csvprofile.Inert(email)})
}

// importColumn is the place of a column's values in a row.
type importColumn func(*account.ImportRow) *string

// importColumns returns a place for each name of a header. A name that is none of ours is refused: it is a
// mistake that would be seen too late, or a password in clear, which must not come here.
func importColumns(names []string) ([]importColumn, error) {
	known := map[string]importColumn{
		"email":         func(r *account.ImportRow) *string { return &r.Email },
		"name":          func(r *account.ImportRow) *string { return &r.Name },
		"password_hash": func(r *account.ImportRow) *string { return &r.PasswordHash },
		"roles":         func(r *account.ImportRow) *string { return &r.Roles },
		"locale":        func(r *account.ImportRow) *string { return &r.Locale },
		"verified":      func(r *account.ImportRow) *string { return &r.Verified },
		"created_at":    func(r *account.ImportRow) *string { return &r.CreatedAt },
	}
	taken, columns := map[string]bool{}, make([]importColumn, len(names))
	for i, given := range names {
		name := strings.ToLower(strings.TrimSpace(given))
		switch {
		case known[name] == nil:
			return nil, badColumns(fmt.Sprintf("Column %d is none of email, name, password_hash, roles, locale, verified and created_at.", i+1))
		case taken[name]:
			return nil, badColumns(fmt.Sprintf("The column %s stands there twice.", name))
		}
		taken[name], columns[i] = true, known[name]
	}
	if !taken["email"] {
		return nil, badColumns("The column email is missing.")
	}
	return columns, nil
}

func badColumns(message string) error { return fault.New(fault.UnsupportedFile, "file", message) }

// CheckImport returns a fault for a file that is no list of accounts, from its header alone.
func CheckImport(ctx context.Context, files *blob.Store, upload *blob.Upload) error {
	list, _, err := files.Open(ctx, upload.Key)
	if err != nil {
		return err
	}
	defer list.Close()
	names, err := csvprofile.Header(ctx, list, importOptions())
	if err == nil {
		_, err = importColumns(names)
	}
	if f, ok := fault.As(importFault(err)); ok {
		return fault.New(f.Code, "file", f.Message).With(f.Cause)
	}
	return err
}

// importFault turns what another attempt would not mend into words for the owner.
func importFault(err error) error {
	if errors.Is(err, csvprofile.ErrTooManyColumns) {
		err = badColumns("The file has more columns than an import.")
	}
	if refused, ok := fault.As(err); ok {
		return queue.Permanent(refused)
	}
	return csvFault(err)
}
