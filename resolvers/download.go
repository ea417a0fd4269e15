package resolvers

import (
	"context"

	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/queue"
)

func (r *mutationResolver) DownloadFiles(ctx context.Context, input graph.DownloadFilesInput) (*graph.DownloadFilesPayload, error) {
	j, err := r.downloadFiles(ctx, input)
	refused, err := userErrors(err)
	return &graph.DownloadFilesPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) downloadFiles(ctx context.Context, input graph.DownloadFilesInput) (*queue.Job, error) {
	files := make([]jobs.DownloadSpec, len(input.Files))
	for i, f := range input.Files {
		files[i] = jobs.DownloadSpec{URL: f.URL, SHA256: orEmpty(f.Sha256)}
	}
	args, err := jobs.NewDownloadArgs(input.Urls, files)
	if err != nil {
		return nil, err
	}
	request, err := jobs.DownloadFiles.Request(viewer.From(ctx).User, args, optionsOf(input.Options))
	if err != nil {
		return nil, err
	}
	return r.Queue.Enqueue(ctx, request)
}

func downloadReport(job queue.ID, report jobs.DownloadReport) *graph.DownloadReport {
	for _, file := range report.Files {
		file.Job = job
	}
	return &graph.DownloadReport{Downloaded: report.Downloaded, Failed: report.Failed, Bytes: report.Bytes, Files: report.Files}
}

func (r *downloadedFileResolver) Artifact(ctx context.Context, obj *jobs.DownloadedFile) (*graph.Artifact, error) {
	return r.artifactCalled(ctx, obj.Job, orEmpty(obj.Name))
}

// DownloadedFile returns the resolvers of the type.
func (r *Resolver) DownloadedFile() graph.DownloadedFileResolver { return &downloadedFileResolver{r} }
