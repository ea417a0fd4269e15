package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gatehouse/internal/fault"
	"gatehouse/queue"
)

// DownloadArgs are the arguments of downloadFiles.
type DownloadArgs struct {
	Files []DownloadSpec `json:"files"`
}

// DownloadSpec is one file that is asked for.
type DownloadSpec struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256,omitempty"` // what is expected, in hexadecimal; "": anything
}

// DownloadReport is what downloadFiles brings.
type DownloadReport struct {
	Downloaded int               `json:"downloaded"`
	Failed     int               `json:"failed"`
	Bytes      int64             `json:"bytes"`
	Files      []*DownloadedFile `json:"files"`
}

// DownloadedFile is what came of one address.
type DownloadedFile struct {
	URL       string      `json:"url"`
	Name      *string     `json:"name,omitempty"` // of its artifact; nil: there is none
	MediaType *string     `json:"mediaType,omitempty"`
	Bytes     int64       `json:"bytes"`
	SHA256    *string     `json:"sha256,omitempty"`
	Resumed   bool        `json:"resumed,omitempty"`
	Redirects []string    `json:"redirects"`
	Error     *FetchError `json:"error,omitempty"`

	Job queue.ID `json:"-"` // filled in by who reads the result
}

// The bounds of downloadFiles.
const (
	maxDownloads     = 20
	maxDownloadBytes = 10 << 30 // of all files together
	downloadsPerJob  = 4
	downloadsPerHost = 4 // of a process
	downloadDeadline = 2 * time.Hour
)

// DownloadFiles is the kind downloadFiles: it streams files to artifacts. Progress counts bytes. What was
// downloaded is kept, so that another attempt goes on where this one stopped. A file that cannot be had is told
// in the report; the job is tried again only for those that another attempt may bring.
var DownloadFiles = queue.Kind[DownloadArgs, DownloadReport]{
	Name:        "downloadFiles",
	Description: "Downloads up to 20 files and keeps them as artifacts.",
	MaxAttempts: 5,
	Deadline:    downloadDeadline,
	Arguments:   readDownloadArguments,
}

// readDownloadArguments reads the input of the mutation.
func readDownloadArguments(input json.RawMessage) (DownloadArgs, error) {
	given, err := readArguments[struct {
		URLs  []string       `json:"urls"`
		Files []DownloadSpec `json:"files"`
	}](input)
	if err != nil {
		return DownloadArgs{}, err
	}
	return NewDownloadArgs(given.URLs, given.Files)
}

// NewDownloadArgs returns the arguments for addresses and for files with what is expected of them, or a fault
// for what no job can have.
func NewDownloadArgs(urls []string, files []DownloadSpec) (DownloadArgs, error) {
	switch n := len(urls) + len(files); {
	case n == 0:
		return DownloadArgs{}, fault.New(fault.Required, "urls", "Give at least one address.")
	case n > maxDownloads:
		return DownloadArgs{}, fault.New(fault.TooLarge, "urls", "Give at most 20 addresses.")
	}
	var args DownloadArgs
	for i, address := range urls {
		if err := checkURLAt(address, "urls", strconv.Itoa(i)); err != nil {
			return args, err
		}
		args.Files = append(args.Files, DownloadSpec{URL: address})
	}
	for i, spec := range files {
		place := strconv.Itoa(i)
		if err := checkURLAt(spec.URL, "files", place, "url"); err != nil {
			return args, err
		}
		if spec.SHA256 = strings.ToLower(spec.SHA256); spec.SHA256 != "" && !hexSum(spec.SHA256) {
			f := fault.New(fault.Invalid, "", "A SHA-256 has 64 hexadecimal digits.")
			f.Field = []string{"files", place, "sha256"}
			return args, f
		}
		args.Files = append(args.Files, spec)
	}
	return args, nil
}

func hexSum(text string) bool { return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == "" }

// downloadsFiles returns DownloadFiles with its handler.
func downloadsFiles(f *fetcher, now func() time.Time) queue.Definition {
	kind := DownloadFiles
	perHost := newDoors(downloadsPerHost)
	kind.Handle = func(ctx context.Context, run *queue.Run, args DownloadArgs) (DownloadReport, error) {
		all := &downloads{run: run, left: maxDownloadBytes}
		for i, spec := range args.Files {
			all.each = append(all.each, &download{all: all, fetcher: f, doors: perHost, now: now, run: run, place: i, spec: spec})
		}
		if err := all.recall(ctx); err != nil {
			return DownloadReport{}, err
		}
		if err := all.do(ctx); err != nil {
			return DownloadReport{}, err
		}
		return all.report()
	}
	return kind.Define()
}

// downloads is one attempt of downloadFiles.
type downloads struct {
	run  *queue.Run
	each []*download

	mu   sync.Mutex
	left int64 // bytes that all may still have together
}

// recall takes over what earlier attempts have kept: whole files, and pieces.
func (d *downloads) recall(ctx context.Context) error {
	kept, err := d.run.Kept(ctx)
	if err != nil {
		return err
	}
	for _, k := range kept {
		place, _, _ := strings.Cut(k.Name, "/")
		i, err := strconv.Atoi(place)
		if err != nil || i < 0 || i >= len(d.each) || k.File == nil {
			continue
		}
		if err := d.each[i].recall(k); err != nil {
			return err
		}
	}
	return nil
}

// do downloads what is missing. Its error is one of ours, or why the job ends.
func (d *downloads) do(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, downloadDeadline-reserve, errNoTime)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(downloadsPerJob)
	for _, one := range d.each {
		if one.whole == nil {
			group.Go(func() error { return one.do(ctx) })
		}
	}
	d.progress()
	return group.Wait()
}

// spend takes bytes from what all files may have together.
func (d *downloads) spend(bytes int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes > d.left {
		return newTrouble(TooLarge, "All files together are larger than 10 GiB.", nil)
	}
	d.left -= bytes
	return nil
}

// spendBack returns what a file has not kept.
func (d *downloads) spendBack(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left += bytes
}

// progress reports how many bytes of all files there are. How many there will be is known once each server has
// told it.
func (d *downloads) progress() {
	d.mu.Lock()
	defer d.mu.Unlock()
	var done, total int64
	known := true
	for _, one := range d.each {
		done += one.done.Load()
		size := one.size.Load()
		total += max(0, size)
		known = known && size != 0
	}
	if !known {
		total = 0
	}
	d.run.Report(done, total, "downloading")
}

// report sums up, or asks for another attempt if that may bring more.
func (d *downloads) report() (DownloadReport, error) {
	report := DownloadReport{Files: make([]*DownloadedFile, len(d.each))}
	names := map[string]bool{}
	var passing *trouble
	d.progress()
	for i, one := range d.each {
		file := &DownloadedFile{URL: one.spec.URL, Redirects: []string{}}
		if met := one.met; met != nil {
			if met.passing {
				passing = met
			}
			file.Error = &met.FetchError
			report.Failed++
		} else {
			*file = one.described()
			name := unique(*file.Name, names)
			file.Name = &name
			d.run.Deliver(*one.whole, name, *file.MediaType)
			report.Downloaded++
			report.Bytes += file.Bytes
		}
		report.Files[i] = file
	}
	if passing != nil && d.run.Job.Attempt < d.run.Job.MaxAttempts {
		words := fmt.Sprintf("%d of %d files were not downloaded yet: %s", report.Failed, len(d.each), passing.Message)
		return report, fault.New(fault.Unavailable, "urls", words).With(errors.Unwrap(passing))
	}
	if report.Failed > 0 {
		d.run.Log("%d of %d files were not downloaded.", report.Failed, len(d.each))
	}
	return report, nil
}
