package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/marshal"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/viewer"
	"gatehouse/resolvers"
	"gatehouse/server/guard"
	edge "gatehouse/server/transport"
)

// openGraphQL builds the executor with its guards, and the transports over it.
func (a *app) openGraphQL() error {
	signer, err := blob.NewSigner(a.secrets.links)
	if err != nil {
		return err
	}
	s := a.settings
	root := &resolvers.Resolver{
		Accounts: a.accounts, Logins: a.logins, Sessions: a.sessions, Queue: a.queue, Audit: a.audit, Files: a.files, Signer: signer,
		Limiter: a.limiter, Identities: a.identities, PublicURL: s.PublicURL, Version: version, Now: time.Now,
	}
	presenter := resolvers.Presenter{Logger: a.logger, RequestID: telemetry.RequestID, Hints: !s.production()}
	options, err := a.guards()
	if err != nil {
		return err
	}
	source := dataloaders.NewSource(a.accounts, a.sessions, a.queue)
	options.Present, options.Recover = presenter.Present, presenter.Recover
	options.Around = source.With
	executor, err := guard.New(graph.NewExecutableSchema(graph.Config{Resolvers: root, Directives: root.Directives()}), options)
	if err != nil {
		return err
	}
	keeper := &doorkeeper{sessions: a.sessions, settings: s, refused: a.metrics.TokenRefused}
	a.edge = edge.New(executor, edge.Options{
		Authenticator: keeper,
		Peer:          keeper.peer,
		Stage:         stage{a.files, s.MaxUploadBytes},
		Present:       presenter.Present,
		RequestID:     telemetry.RequestID,
		Origins:       append([]string{s.PublicURL}, s.AllowedOrigins...), // a proxy may have changed Host
		DrainJitter:   drainJitter,
		// A multipart request holds more than its files: names, boundaries, the operation.
		MaxUploadBytes:    s.MaxUploadBytes + 2<<20,
		MaxStreamsPerPeer: max(0, s.MaxSocketsPerIP), // 0: as transport has it
		Observer: edge.Observer{
			Finished:      a.finished,
			Sockets:       func(n int) { a.metrics.Sockets.Add(float64(n)) },
			Subscriptions: func(n int) { a.metrics.Subscriptions.Add(float64(n)) },
		},
	})
	return nil
}

func (a *app) guards() (guard.Options, error) {
	s := a.settings
	o := guard.Options{
		Introspection: func(ctx context.Context) bool { return !s.production() || viewer.From(ctx).May(viewer.Introspect) },
		Suggestions:   !s.production(),
		// A CSV may have 1,024 columns, and its summary then takes 20 ms to read. At these prices a document
		// may ask for the columns of a few jobs, or for the summaries of a page of them.
		Limits: guard.Limits{
			ListSizes: map[string]int{"CsvSummary.columns": 100, "CsvSummary.rejects": 100, "ImportSummary.rejects": 100},
			// A rare moment takes 0.1 ms to find.
			Weights: map[string]int{"Job.result": 40, "Schedule.nextRuns": 40},
		},
	}
	if s.PersistedQueries == "" {
		return o, nil
	}
	file, err := os.Open(s.PersistedQueries)
	if err != nil {
		return o, fmt.Errorf("read persisted-queries: %w", err)
	}
	defer file.Close()
	o.Persisted.OnlyAllowListed = s.PersistedOnly
	o.Persisted.AllowList, err = guard.ReadAllowList(file)
	return o, err
}

// finished counts an operation, and logs it for those who look closely.
func (a *app) finished(ctx context.Context, f edge.Finished) {
	a.metrics.Operation(f.Kind, f.Transport, f.Took, f.Codes)
	if a.logger.Enabled(ctx, slog.LevelDebug) {
		a.logger.DebugContext(ctx, "operation", "kind", f.Kind, "name", f.Name, "transport", f.Transport,
			"took", f.Took, "codes", f.Codes)
	}
}

// stage keeps uploads in the store of files until a resolver claims them.
type stage struct {
	files *blob.Store
	limit int64 // bytes of one file
}

// Stage implements the transport's Stage.
func (s stage) Stage(ctx context.Context, file edge.UploadedFile) (any, func(), error) {
	upload, err := s.files.Receive(ctx, file.Name, file.Body, s.limit)
	if err != nil {
		return nil, func() {}, uploadFault(err, s.limit)
	}
	return marshal.Staged{Upload: upload}, func() { _ = s.files.Delete(context.WithoutCancel(ctx), upload.Key) }, nil
}

func uploadFault(err error, limit int64) error {
	if errors.Is(err, blob.ErrTooLarge) {
		return fault.New(fault.LimitExceeded, "", fmt.Sprintf("A file has at most %d bytes.", limit)).With(err)
	}
	return err
}
