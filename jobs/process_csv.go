package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/jobs/csvprofile"
	"gatehouse/queue"
)

// Source is where a CSV comes from.
type Source string

// The sources. A file and a text are kept with the job as its input.
const (
	FromFile Source = "FILE"
	FromText Source = "TEXT"
	FromURL  Source = "URL"
)

// CSVArgs are the arguments of processCsv.
type CSVArgs struct {
	Source    Source `json:"source"`
	URL       string `json:"url,omitempty"`
	HasHeader bool   `json:"hasHeader"`
	Delimiter string `json:"delimiter,omitempty"` // one character; "": found out
}

// The media types of the artifacts.
const (
	jsonLines = "application/jsonl"
	csvText   = "text/csv; charset=utf-8"
)

// CSV is the kind processCsv: it reads a CSV of any size and tells what its columns hold and which
// rows are bad, with a clean copy as JSON Lines. Progress counts bytes. It may run twice: its files
// are kept only with its result.
var CSV = queue.Kind[CSVArgs, csvprofile.Summary]{
	Name:        "processCsv",
	Description: "Reads a CSV of any size: columns, types, bad rows, and a clean copy as JSON Lines.",
	MaxAttempts: 4,
	Deadline:    2 * time.Hour,
	Arguments:   readCSVArguments,
	File:        "file",
}

// readCSVArguments reads the input of the mutation: a CSV at an address, or a file that another step has made.
func readCSVArguments(input json.RawMessage) (CSVArgs, error) {
	given, err := readArguments[struct {
		URL       string    `json:"url"`
		File      *madeFile `json:"file"`
		HasHeader *bool     `json:"hasHeader"`
		Delimiter string    `json:"delimiter"`
	}](input)
	if err != nil {
		return CSVArgs{}, err
	}
	args := CSVArgs{
		Source: FromURL, URL: given.URL, HasHeader: given.HasHeader == nil || *given.HasHeader, Delimiter: given.Delimiter,
	}
	if given.File != nil {
		if given.URL != "" {
			return args, fault.New(fault.Required, "", "Give exactly one of file and url.")
		}
		args.Source = FromFile
	}
	return args, args.Check()
}

// Check returns a fault for arguments that no job can have.
func (a CSVArgs) Check() error {
	if err := CheckDelimiter(a.Delimiter); err != nil {
		return err
	}
	if a.Source == FromURL {
		return CheckURL(a.URL)
	}
	return nil
}

// processCSVs returns CSV with its handler.
func processCSVs(f *fetcher) queue.Definition {
	kind := CSV
	kind.Handle = func(ctx context.Context, run *queue.Run, args CSVArgs) (csvprofile.Summary, error) {
		source, total, err := openCSV(ctx, f, run, args)
		if err != nil {
			return csvprofile.Summary{}, err
		}
		defer source.Close()
		return processCSV(ctx, run, source, total, args)
	}
	return kind.Define()
}

// openCSV returns the bytes of the CSV and how many there are, 0 when nobody knows.
func openCSV(ctx context.Context, f *fetcher, run *queue.Run, args CSVArgs) (io.ReadCloser, int64, error) {
	if args.Source == FromURL {
		return f.open(ctx, args.URL)
	}
	inputs, err := run.Inputs(ctx)
	if err != nil {
		return nil, 0, err
	}
	if len(inputs) != 1 {
		return nil, 0, queue.Permanent(fmt.Errorf("the job has %d input files", len(inputs)))
	}
	content, err := run.Open(ctx, inputs[0])
	return content, inputs[0].Bytes, err
}

func processCSV(ctx context.Context, run *queue.Run, source io.Reader, total int64, args CSVArgs) (csvprofile.Summary, error) {
	clean, err := run.Create(ctx, "clean.jsonl", jsonLines)
	if err != nil {
		return csvprofile.Summary{}, err
	}
	rejects, err := run.Create(ctx, "rejects.csv", csvText)
	if err != nil {
		return csvprofile.Summary{}, err
	}
	run.Report(0, total, "reading")
	options := csvprofile.Options{
		NoHeader: !args.HasHeader, Clean: clean, Rejects: rejects,
		Progress: func(read int64) { run.Report(read, total, "reading") },
	}
	for _, r := range args.Delimiter {
		options.Delimiter = r
	}
	summary, err := csvprofile.Profile(ctx, source, options)
	if err != nil {
		return summary, csvFault(err)
	}
	if summary.BadRows > 0 {
		run.Log("%d of %d rows are bad; the first is on line %d: %s", summary.BadRows,
			summary.Rows+summary.BadRows, summary.Bad[0].Line, summary.Bad[0].Message)
	}
	run.Report(summary.BytesRead, max(total, summary.BytesRead), "done")
	return summary, nil
}

// csvFault turns what cannot be read into words for the owner. Another attempt would not help.
func csvFault(err error) error {
	for _, c := range []struct {
		is   error
		code fault.Code
		say  string
	}{
		{csvprofile.ErrEmpty, fault.EmptyFile, "The file is empty."},
		{csvprofile.ErrNotCSV, fault.UnsupportedFile, "The file is not a CSV."},
		{csvprofile.ErrEncoding, fault.UnsupportedFile, "The file's encoding is none of UTF-8, UTF-16 with a byte order mark and windows-1252."},
		{csvprofile.ErrHeader, fault.UnsupportedFile, "The header row cannot be read."},
		{csvprofile.ErrTooManyColumns, fault.TooLarge, "The file has more than 1024 columns."},
		{csvprofile.ErrDelimiter, fault.Invalid, "The delimiter must be one ASCII character that is no quote and no line end."},
		{csvprofile.ErrOutputTooLarge, fault.TooLarge, "The clean copy would be larger than 16 GiB."},
	} {
		if errors.Is(err, c.is) {
			return queue.Permanent(fault.New(c.code, "", c.say).With(err))
		}
	}
	return err
}

// CheckDelimiter returns a fault unless text is one character that can stand between fields.
func CheckDelimiter(text string) error {
	if text == "" {
		return nil
	}
	if len(text) != 1 || text[0] >= 0x80 || text[0] == '"' || text[0] == '\n' || text[0] == '\r' || text[0] == 0 {
		return fault.New(fault.Invalid, "delimiter", "The delimiter must be one ASCII character that is no quote and no line end.")
	}
	return nil
}
