package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/jobs/webhook"
	"gatehouse/queue"
)

// WebhookArgs are the arguments of callWebhook.
type WebhookArgs struct {
	URL     string          `json:"url"`
	Payload json.RawMessage `json:"payload"`
	Silence int             `json:"silenceSeconds"` // the longest that a worker outside may say nothing
}

// WebhookReport is what callWebhook brings.
type WebhookReport struct {
	Status     int             `json:"status"` // 202 when a worker outside has ended the job
	Body       json.RawMessage `json:"body"`   // nil: the answer was no JSON
	Attempts   int             `json:"attempts"`
	DurationMs int64           `json:"durationMs"` // of the last attempt
}

// Webhook is the kind callWebhook: it sends a signed POST and takes the answer as its result. After a
// 202 the job goes on outside. It may call twice for one job: the id of the message is then the same.
var Webhook = queue.Kind[WebhookArgs, WebhookReport]{
	Name:        "callWebhook",
	Description: "Sends a signed POST to a web address, which answers with the result or goes on with the job and reports.",
	MaxAttempts: 10,
	Deadline:    2 * time.Minute,
	Arguments:   scheduledWebhook,
	Outside: &queue.Outside[WebhookArgs, WebhookReport]{
		Silence: func(args WebhookArgs) time.Duration { return time.Duration(args.Silence) * time.Second },
		Longest: 24 * time.Hour,
		Result: func(j *queue.Job, given json.RawMessage, took time.Duration) WebhookReport {
			return WebhookReport{http.StatusAccepted, given, j.Attempt, took.Milliseconds()}
		},
	},
}

// The bounds of a call.
const (
	DefaultSilence  = 300 // seconds
	minSilence      = 5
	maxSilence      = 24 * 60 * 60
	maxPayloadBytes = 512 << 10
	maxResultBytes  = 512 << 10
	answerTimeout   = 60 * time.Second
	maxRetryAfter   = 24 * time.Hour
)

// What a worker outside is told beside the signed message.
const (
	headerAttempt = "Gatehouse-Attempt"         // 1 for the first
	headerToken   = "Gatehouse-Token"           // for reportJobProgress and completeJob
	headerSilence = "Gatehouse-Silence-Seconds" // how soon it must report
)

func scheduledWebhook(input json.RawMessage) (WebhookArgs, error) {
	args := WebhookArgs{Silence: DefaultSilence}
	given, err := readArguments[struct {
		URL     string          `json:"url"`
		Payload json.RawMessage `json:"payload"`
		Silence *int            `json:"silenceSeconds"`
	}](input)
	if err != nil {
		return args, err
	}
	args.URL, args.Payload = given.URL, given.Payload
	if given.Silence != nil {
		args.Silence = *given.Silence
	}
	return args, args.Check()
}

// Check returns a fault for arguments that no job can have.
func (a WebhookArgs) Check() error {
	switch {
	case len(a.Payload) == 0:
		return fault.New(fault.Required, "payload", "Give what is to be sent.")
	case len(a.Payload) > maxPayloadBytes:
		return fault.New(fault.TooLarge, "payload", "A payload has at most 512 KiB.")
	case a.Silence < minSilence || a.Silence > maxSilence:
		return fault.New(fault.Invalid, "silenceSeconds", "A worker may be silent for 5 to 86400 seconds.")
	}
	return CheckURL(a.URL)
}

// WebhookKeys returns the keys that sign the webhooks of owner, the present one first.
type WebhookKeys func(ctx context.Context, owner viewer.UserID) ([][]byte, error)

// caller sends webhooks.
type caller struct {
	client *http.Client // follows no redirect: what answers must be what was signed for
	keys   WebhookKeys
	now    func() time.Time
}

// callsWebhooks returns Webhook with its handler.
func callsWebhooks(f *fetcher, keys WebhookKeys, now func() time.Time) queue.Definition {
	kind := Webhook
	kind.Handle = (&caller{f.client, keys, now}).call
	return kind.Define()
}

// call sends the payload and takes the answer.
func (c *caller) call(ctx context.Context, run *queue.Run, args WebhookArgs) (WebhookReport, error) {
	run.Report(0, 0, "calling")
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request, err := c.request(ctx, run, args)
	if err != nil {
		return WebhookReport{}, err
	}
	began := c.now()
	answer, err := c.client.Do(request)
	if err != nil {
		return WebhookReport{}, faultOf(troubleOf(err, nil, nil))
	}
	defer answer.Body.Close()
	run.Log("The address answered with status %d.", answer.StatusCode)
	switch status := answer.StatusCode; {
	case status == http.StatusAccepted:
		run.Report(0, 0, "outside")
		return WebhookReport{}, queue.ErrOutside
	case status < 200 || status > 299:
		return WebhookReport{}, answerFault(answer, c.now())
	}
	body, err := jsonAnswer(answer.Body)
	if err != nil {
		return WebhookReport{}, err
	}
	run.Report(0, 0, "answered")
	return WebhookReport{answer.StatusCode, body, run.Job.Attempt, c.now().Sub(began).Milliseconds()}, nil
}

func (c *caller) request(ctx context.Context, run *queue.Run, args WebhookArgs) (*http.Request, error) {
	keys, err := c.keys(ctx, run.Job.Owner)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, args.URL, bytes.NewReader(args.Payload))
	if err != nil {
		return nil, queue.Permanent(fault.New(fault.Invalid, "url", "The address cannot be read."))
	}
	webhook.Sign(request.Header, keys, string(run.Job.ID), c.now(), args.Payload)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Gatehouse")
	request.Header.Set(headerAttempt, strconv.Itoa(run.Job.Attempt))
	request.Header.Set(headerToken, run.Token())
	request.Header.Set(headerSilence, strconv.Itoa(args.Silence))
	return request, nil
}

// jsonAnswer returns the JSON that the address has answered with, nil when it was none.
func jsonAnswer(body io.Reader) (json.RawMessage, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxResultBytes+1))
	if err != nil {
		return nil, faultOf(troubleOf(err, nil, nil))
	}
	if len(text) > maxResultBytes {
		return nil, queue.Permanent(fault.New(fault.TooLarge, "url", "The answer is larger than 512 KiB."))
	}
	if !json.Valid(text) {
		return nil, nil
	}
	return text, nil
}

// answerFault tells the owner of an answer that is no success, and when to try again: never, but after
// what passes by itself.
func answerFault(answer *http.Response, now time.Time) error {
	status := answer.StatusCode
	f := fault.New(fault.Invalid, "url", fmt.Sprintf("The address answered with status %d.", status))
	switch {
	case status == http.StatusTooManyRequests || status >= 500:
		f.RetryAfter = min(advice(answer.Header.Get("Retry-After"), now), maxRetryAfter)
		return f
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		return f
	}
	return queue.Permanent(f)
}
