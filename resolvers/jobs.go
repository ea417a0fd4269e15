package resolvers

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"gatehouse/account"
	"gatehouse/graph"
	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/jobs/csvprofile"
	"gatehouse/queue"
)

// maxTextBytes is how large a CSV may be that comes as a text.
const maxTextBytes = 512 << 10

func (r *mutationResolver) ProcessCSV(ctx context.Context, input graph.ProcessCSVInput) (*graph.ProcessCSVPayload, error) {
	j, err := r.processCSV(ctx, input)
	refused, err := userErrors(err)
	return &graph.ProcessCSVPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) processCSV(ctx context.Context, input graph.ProcessCSVInput) (*queue.Job, error) {
	args := jobs.CSVArgs{HasHeader: input.HasHeader == nil || *input.HasHeader, Delimiter: orEmpty(input.Delimiter)}
	if input.URL != nil {
		args.Source, args.URL = jobs.FromURL, *input.URL
	}
	if err := args.Check(); err != nil {
		return nil, err
	}
	upload, err := r.csvSource(ctx, input, &args)
	if err != nil {
		return nil, err
	}
	request, err := jobs.CSV.Request(viewer.From(ctx).User, args, optionsOf(input.Options))
	if err != nil {
		return nil, err
	}
	if upload != nil {
		request.Files = []*blob.Upload{upload}
	}
	j, err := r.Queue.Enqueue(ctx, request)
	if upload != nil && !upload.Kept() && input.Text != nil {
		_ = r.Files.Delete(context.WithoutCancel(ctx), upload.Key) // the sweep finds what stays
	}
	return j, err
}

// csvSource fills in where the CSV comes from and stores it when it is not fetched.
func (r *Resolver) csvSource(ctx context.Context, input graph.ProcessCSVInput, args *jobs.CSVArgs) (*blob.Upload, error) {
	given := 0
	for _, is := range []bool{input.File != nil, input.Text != nil, input.URL != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, fault.New(fault.Required, "", "Give exactly one of file, text and url.")
	}
	switch {
	case input.URL != nil:
		return nil, nil
	case input.File != nil:
		args.Source = jobs.FromFile
		if input.File.Bytes == 0 {
			return nil, fault.New(fault.EmptyFile, "file", "The file is empty.")
		}
		return input.File, nil
	}
	args.Source = jobs.FromText
	if len(*input.Text) > maxTextBytes {
		return nil, fault.New(fault.TooLarge, "text", "A text has at most 512 KiB. Send it as a file.")
	}
	if strings.TrimSpace(*input.Text) == "" {
		return nil, fault.New(fault.EmptyFile, "text", "The text is empty.")
	}
	return r.Files.Receive(ctx, "text.csv", strings.NewReader(*input.Text), maxTextBytes)
}

func optionsOf(o *graph.JobOptions) queue.JobOptions {
	if o == nil {
		return queue.JobOptions{}
	}
	options := queue.JobOptions{IdempotencyKey: orEmpty(o.IdempotencyKey)}
	if o.Priority != nil {
		options.Priority = *o.Priority
	}
	if o.RunAt != nil {
		options.RunAt = *o.RunAt
	}
	if o.MaxAttempts != nil {
		options.MaxAttempts = *o.MaxAttempts
		if options.MaxAttempts == 0 {
			options.MaxAttempts = -1 // 0 leaves it to the kind; whoever writes 0 means something else
		}
	}
	return options
}

// resultOf reads what j has brought.
func resultOf(j *queue.Job, raw json.RawMessage) (graph.JobResult, error) {
	if string(raw) == "null" { // of kinds that bring nothing, such as messages
		return nil, nil
	}
	switch kind := j.Kind; kind {
	case jobs.CSV.Name:
		var s csvprofile.Summary
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return csvSummary(s), nil
	case account.ExportData:
		var e jobs.Exported
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return dataExport(e), nil
	case jobs.FetchURLs.Name:
		var report jobs.FetchReport
		if err := json.Unmarshal(raw, &report); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return fetchReport(j.ID, report), nil
	case jobs.DownloadFiles.Name:
		var report jobs.DownloadReport
		if err := json.Unmarshal(raw, &report); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return downloadReport(j.ID, report), nil
	case jobs.Image.Name:
		var s jobs.ImageSet
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return imageSet(j.ID, s), nil
	case jobs.Report.Name, jobs.DeploymentReport.Name:
		var f jobs.ReportFile
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return &graph.ReportFile{Job: j.ID, Pages: f.Pages, Rows: int64(f.Rows), Period: &graph.ReportPeriod{From: f.From, To: f.To}}, nil
	case queue.WorkflowKind.Name:
		var r queue.WorkflowReport
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return &graph.WorkflowReport{Steps: r.Steps, Succeeded: r.Succeeded, Failed: r.Failed, Skipped: r.Skipped}, nil
	case jobs.ImportUsers.Name:
		var s jobs.ImportSummary
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return importSummary(s), nil
	case jobs.Webhook.Name:
		var w jobs.WebhookReport
		if err := json.Unmarshal(raw, &w); err != nil {
			return nil, fmt.Errorf("read result of %s: %w", kind, err)
		}
		return webhookReport(w), nil
	}
	return nil, fmt.Errorf("the result of kind %q has no type in the schema", j.Kind)
}

func csvSummary(s csvprofile.Summary) *graph.CSVSummary {
	summary := &graph.CSVSummary{
		Rows: s.Rows, BadRows: s.BadRows, Bytes: s.BytesRead, Encoding: string(s.Encoding), Delimiter: string(s.Delimiter),
		Columns: make([]*graph.CSVColumn, len(s.Columns)), Rejects: make([]*graph.CSVReject, len(s.Bad)),
		Notes: make([]string, len(s.Renamed)),
	}
	for i, c := range s.Columns {
		column := &graph.CSVColumn{
			Name: c.Name, Type: graph.CSVType(c.Type), Empty: c.Empty, Distinct: c.Distinct, DistinctIsExact: c.DistinctIsExact,
		}
		if c.Distinct == 0 {
			column.Type = graph.CSVTypeEmpty
		} else {
			column.Min, column.Max = &c.Min, &c.Max
		}
		summary.Columns[i] = column
	}
	for i, b := range s.Bad {
		summary.Rejects[i] = &graph.CSVReject{Line: b.Line, Code: string(b.Reason), Reason: b.Message}
	}
	for i, n := range s.Renamed {
		summary.Notes[i] = fmt.Sprintf("Column %d is called %q in the file and %q here.", n.Column, n.From, n.To)
	}
	return summary
}
