package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gatehouse/internal/fault"
	"gatehouse/queue"
)

// FetchArgs are the arguments of fetchUrls.
type FetchArgs struct {
	URLs           []string `json:"urls"`
	TimeoutSeconds int      `json:"timeoutSeconds"`
	CacheSeconds   int      `json:"cacheSeconds,omitempty"` // 0: neither read nor kept
}

// FetchReport is what fetchUrls brings.
type FetchReport struct {
	Fetched int            `json:"fetched"`
	Failed  int            `json:"failed"`
	Results []*FetchResult `json:"results"`
}

// FetchResult is what came of one address.
type FetchResult struct {
	URL        string      `json:"url"`
	Status     *int        `json:"status,omitempty"` // nil: no answer
	MediaType  *string     `json:"mediaType,omitempty"`
	Bytes      int64       `json:"bytes"`
	SHA256     *string     `json:"sha256,omitempty"`
	Body       *string     `json:"body,omitempty"` // its first inlineBytes; nil when it is no text
	Truncated  bool        `json:"truncated,omitempty"`
	FromCache  bool        `json:"fromCache,omitempty"`
	FetchedAt  *time.Time  `json:"fetchedAt,omitempty"`
	DurationMs int64       `json:"durationMs"`
	Redirects  []string    `json:"redirects"`
	Error      *FetchError `json:"error,omitempty"`
	File       string      `json:"file,omitempty"` // the name of the artifact with the whole body; "": there is none

	Job queue.ID `json:"-"` // filled in by who reads the result
}

// The bounds of fetchUrls.
const (
	maxURLs        = 100
	maxWaitSeconds = 30
	usualWait      = 10 // seconds
	maxCacheFor    = 3600
	maxAnswerBytes = 1 << 20
	inlineBytes    = 16 << 10
	fetchesPerJob  = 20
	fetchesPerHost = 8 // of a process
	fetchDeadline  = 30 * time.Minute
	reserve        = time.Minute // of a deadline, to write down what was done
)

// FetchURLs is the kind fetchUrls: it fetches many addresses at once. One that fails is told in the report and
// does not fail the job. Progress counts addresses. What was fetched is kept, so that another attempt does not
// fetch it again.
var FetchURLs = queue.Kind[FetchArgs, FetchReport]{
	Name:        "fetchUrls",
	Description: "Fetches up to 100 addresses at once.",
	MaxAttempts: 4,
	Deadline:    fetchDeadline,
	Arguments:   readFetchArguments,
}

// readFetchArguments reads the input of the mutation.
func readFetchArguments(input json.RawMessage) (FetchArgs, error) {
	given, err := readArguments[struct {
		URLs           []string `json:"urls"`
		TimeoutSeconds *int     `json:"timeoutSeconds"`
		CacheSeconds   int      `json:"cacheSeconds"`
	}](input)
	if err != nil {
		return FetchArgs{}, err
	}
	args := FetchArgs{URLs: given.URLs, TimeoutSeconds: usualWait, CacheSeconds: given.CacheSeconds}
	if given.TimeoutSeconds != nil {
		args.TimeoutSeconds = *given.TimeoutSeconds
	}
	return args, args.Check()
}

// Check returns a fault for arguments that no job can have.
func (a FetchArgs) Check() error {
	switch {
	case len(a.URLs) == 0:
		return fault.New(fault.Required, "urls", "Give at least one address.")
	case len(a.URLs) > maxURLs:
		return fault.New(fault.TooLarge, "urls", "Give at most 100 addresses.")
	case a.TimeoutSeconds < 1 || a.TimeoutSeconds > maxWaitSeconds:
		return fault.New(fault.Invalid, "timeoutSeconds", "An address may take 1 to 30 seconds.")
	case a.CacheSeconds < 0 || a.CacheSeconds > maxCacheFor:
		return fault.New(fault.Invalid, "cacheSeconds", "An answer may be 0 to 3600 seconds old.")
	}
	for i, address := range a.URLs {
		if err := checkURLAt(address, "urls", strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return nil
}

// checkURLAt is CheckURL for an address that stands at path in the input.
func checkURLAt(address string, path ...string) error {
	err := CheckURL(address)
	if f, ok := fault.As(err); ok {
		f.Field = path
	}
	return err
}

// fetchesURLs returns FetchURLs with its handler.
func fetchesURLs(f *fetcher, answers *Answers, now func() time.Time) queue.Definition {
	kind := FetchURLs
	perHost := newDoors(fetchesPerHost)
	kind.Handle = func(ctx context.Context, run *queue.Run, args FetchArgs) (FetchReport, error) {
		w := &fetching{
			fetcher: f, doors: perHost, answers: answers, now: now, run: run, args: args,
			slots: make(chan struct{}, fetchesPerJob), results: make([]*FetchResult, len(args.URLs)),
		}
		if err := w.recall(ctx); err != nil {
			return FetchReport{}, err
		}
		run.Report(w.done, int64(len(args.URLs)), "fetching")
		if err := w.all(ctx); err != nil {
			return FetchReport{}, err
		}
		return w.report(), nil
	}
	return kind.Define()
}

// fetching is one attempt of fetchUrls.
type fetching struct {
	fetcher *fetcher
	doors   *doors
	answers *Answers
	now     func() time.Time
	run     *queue.Run
	args    FetchArgs
	slots   chan struct{}

	mu      sync.Mutex
	done    int64
	results []*FetchResult // by place in the arguments; nil: not yet
}

// recall takes over what an earlier attempt has fetched.
func (w *fetching) recall(ctx context.Context) error {
	all, err := w.run.Kept(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		var r FetchResult
		i, err := strconv.Atoi(k.Name)
		if err == nil {
			err = json.Unmarshal(k.Note, &r)
		}
		if err != nil || i < 0 || i >= len(w.results) || (r.File != "") != (k.File != nil) {
			continue // fetched again
		}
		w.take(i, &r, k)
	}
	return nil
}

// take puts a result into the report.
func (w *fetching) take(i int, r *FetchResult, k queue.Kept) {
	if r.File != "" {
		w.run.Deliver(k, r.File, *r.MediaType)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results[i] = r
	w.done++
	w.run.Report(w.done, int64(len(w.results)), "fetching")
}

// all fetches what is missing. Each host has as many goroutines as may be at it, so that a slow one holds up
// no other. Its error is one of ours, or why the job ends.
func (w *fetching) all(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchDeadline-reserve, errNoTime)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, places := range w.byHost() {
		waiting := make(chan int, len(places))
		for _, i := range places {
			waiting <- i
		}
		close(waiting)
		for range min(len(places), fetchesPerHost) {
			group.Go(func() error {
				for i := range waiting {
					if err := w.one(ctx, i); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// byHost returns the places of the addresses that are missing, by host.
func (w *fetching) byHost() map[string][]int {
	hosts := map[string][]int{}
	for i, address := range w.args.URLs {
		if w.results[i] != nil {
			continue
		}
		u, err := url.Parse(address)
		if err != nil {
			u = new(url.URL) // the fetch says what is wrong with it
		}
		host := strings.ToLower(u.Host)
		hosts[host] = append(hosts[host], i)
	}
	return hosts
}

// one fetches one address and keeps what came of it.
func (w *fetching) one(ctx context.Context, i int) error {
	began := w.now()
	got, cached := w.answers.recent(ctx, w.run.Job.Owner, w.args.URLs[i], time.Duration(w.args.CacheSeconds)*time.Second, began)
	var err error
	if !cached {
		err = patiently(ctx, func() (err error) {
			got, err = w.fetch(ctx, w.args.URLs[i])
			return err
		})
	}
	met, _ := errors.AsType[*trouble](err)
	if err != nil && met == nil {
		return err
	}
	if err == nil && !cached {
		w.answers.keep(ctx, w.run.Job.Owner, w.args.URLs[i], time.Duration(w.args.CacheSeconds)*time.Second, got)
	}
	r := &FetchResult{URL: w.args.URLs[i], Redirects: []string{}, FromCache: cached, DurationMs: w.now().Sub(began).Milliseconds()}
	if met != nil {
		r.Error = &met.FetchError
	}
	k, err := w.keep(context.WithoutCancel(ctx), i, r, got, met) // it is done, whatever ends the rest
	if err == nil {
		w.take(i, r, k)
	}
	return err
}

// fetch asks for one address once.
func (w *fetching) fetch(ctx context.Context, address string) (*fetched, error) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return nil, troubleOf(ctx.Err(), nil, context.Cause(ctx))
	}
	a, err := w.fetcher.get(ctx, wish{
		url: address, limit: maxAnswerBytes, timeout: time.Duration(w.args.TimeoutSeconds) * time.Second, doors: w.doors,
	})
	if err != nil {
		return nil, err
	}
	defer a.body.Close()
	return readAnswer(a, w.now)
}

// keep describes the answer in r and stores both for the next attempt, save for a failure that may pass. Of an
// answer that is an error only the beginning is kept.
func (w *fetching) keep(ctx context.Context, i int, r *FetchResult, got *fetched, met *trouble) (queue.Kept, error) {
	var file *queue.Making
	if got != nil {
		got.describe(r)
		if met == nil && (r.Truncated || r.Body == nil) {
			var err error
			r.File = fmt.Sprintf("%03d%s", i+1, extension(got.MediaType))
			if file, err = w.write(ctx, r.File, got); err != nil {
				return queue.Kept{}, err
			}
		}
	}
	if met != nil && met.passing {
		return queue.Kept{}, nil
	}
	return w.run.Keep(ctx, strconv.Itoa(i), r, file)
}

func (w *fetching) write(ctx context.Context, name string, got *fetched) (*queue.Making, error) {
	file, err := w.run.Create(ctx, name, got.MediaType)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(got.Body); err != nil {
		return nil, err
	}
	return file, nil
}

// report sums up.
func (w *fetching) report() FetchReport {
	report := FetchReport{Results: w.results}
	for _, r := range w.results {
		if r.Error == nil {
			report.Fetched++
		} else {
			report.Failed++
		}
	}
	if report.Failed > 0 {
		w.run.Log("%d of %d addresses were not fetched.", report.Failed, len(w.results))
	}
	return report
}
