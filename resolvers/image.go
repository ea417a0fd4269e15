package resolvers

import (
	"context"

	"gatehouse/graph"
	"gatehouse/internal/blob"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/jobs/imaging"
	"gatehouse/queue"
)

func (r *mutationResolver) ProcessImage(ctx context.Context, input graph.ProcessImageInput) (*graph.ProcessImagePayload, error) {
	j, err := r.processImage(ctx, input)
	refused, err := userErrors(err)
	return &graph.ProcessImagePayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) processImage(ctx context.Context, input graph.ProcessImageInput) (*queue.Job, error) {
	args := jobs.ImageArgs{Variants: make([]jobs.ImageSpec, len(input.Variants))}
	for i, v := range input.Variants {
		args.Variants[i] = jobs.ImageSpec{Name: orEmpty(v.Name), Spec: imaging.Spec{
			Width: orOpen(v.Width), Height: orOpen(v.Height), Fit: v.Fit, Enlarge: v.Enlarge, Format: v.Format, Quality: orOpen(v.Quality),
		}}
	}
	if err := jobs.CheckImage(ctx, r.Files, input.File, &args); err != nil {
		return nil, err
	}
	request, err := jobs.Image.Request(viewer.From(ctx).User, args, optionsOf(input.Options))
	if err != nil {
		return nil, err
	}
	request.Files = []*blob.Upload{input.File}
	return r.Queue.Enqueue(ctx, request)
}

// orOpen returns 0 for a number that was left out, and −1 for a 0: whoever writes that means something else.
func orOpen(number *int) int {
	switch {
	case number == nil:
		return 0
	case *number == 0:
		return -1
	}
	return *number
}

func imageSet(job queue.ID, s jobs.ImageSet) *graph.ImageSet {
	o := s.Original
	set := &graph.ImageSet{
		Original: &graph.ImageOriginal{Format: o.Format, Width: o.Width, Height: o.Height, Bytes: o.Bytes, Orientation: int(o.Orientation)},
		Variants: make([]*jobs.ImageVariant, len(s.Variants)),
	}
	for i := range s.Variants {
		set.Variants[i] = &s.Variants[i]
		set.Variants[i].Job = job
	}
	return set
}

func (r *imageVariantResolver) Artifact(ctx context.Context, obj *jobs.ImageVariant) (*graph.Artifact, error) {
	return r.artifactCalled(ctx, obj.Job, obj.FileName())
}

// ImageVariant returns the resolvers of the type.
func (r *Resolver) ImageVariant() graph.ImageVariantResolver { return &imageVariantResolver{r} }
