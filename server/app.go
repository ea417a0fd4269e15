package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"gatehouse/account"
	"gatehouse/account/password"
	"gatehouse/audit"
	"gatehouse/internal/blob"
	"gatehouse/internal/breach"
	"gatehouse/internal/bus"
	"gatehouse/internal/cache"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/login"
	"gatehouse/queue"
	"gatehouse/queue/transport"
	"gatehouse/session"

	edge "gatehouse/server/transport"
)

// audience is the aud of access tokens: this API.
const audience = "gatehouse"

// app is the whole program, built and not started: from the cellar up.
type app struct {
	settings Settings
	logger   *slog.Logger
	metrics  *telemetry.Metrics
	secrets  secrets

	db         *store.DB
	files      *blob.Store
	redis      redis.UniversalClient // nil when embedded
	workRedis  redis.UniversalClient // may be redis
	bus        *bus.Bus
	remote     *cache.Remote // nil when embedded
	limiter    *limit.Limiter
	audit      *audit.Log
	keys       *session.Keys
	sessions   *session.Sessions
	accounts   *account.Accounts
	logins     *login.Logins
	identities *login.Identities
	post       *notify.Post
	outbox     *notify.Outbox // of development without a mail server; else nil
	queue      *queue.Queue
	edge       *edge.Handler

	firstAdmin *firstAdmin // nil: there is an administrator, or no link is wanted
	listener   net.Listener
	server     *http.Server
	draining   atomic.Bool
	closers    []func() // what was opened, in order
}

// newApp builds the program. On an error it has closed what it had opened.
func newApp(ctx context.Context, s Settings, log io.Writer, workers int) (_ *app, err error) {
	a := &app{settings: s}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.logger, err = telemetry.NewLogger(log, telemetry.Format(s.LogFormat), s.level()); err != nil {
		return nil, err
	}
	a.metrics = telemetry.NewMetrics(version)
	for _, floor := range []func(context.Context) error{
		a.openStore, a.openRedis, a.listen, a.openPost,
		func(context.Context) error { return a.openQueue(workers) },
		a.openIdentity,
	} {
		if err := floor(ctx); err != nil {
			return nil, err
		}
	}
	a.metrics.Register(collector{a})
	return a, nil
}

// onClose remembers how to close what was just opened.
func (a *app) onClose(fn func()) { a.closers = append(a.closers, fn) }

// close closes everything from the roof down.
func (a *app) close() {
	for i := len(a.closers) - 1; i >= 0; i-- {
		a.closers[i]()
	}
	a.closers = nil
}

func (a *app) openStore(ctx context.Context) error {
	s := a.settings
	if err := writable(s.Data); err != nil {
		return err
	}
	keys, err := roots(s)
	if err != nil {
		return err
	}
	if s.sqlite() && len(s.RedisURL) == 0 && !s.beside {
		path := strings.TrimPrefix(s.DatabaseURL, "sqlite:")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("make folder of database: %w", err)
		}
		unlock, err := store.Lock(ctx, path+".lock", 0)
		if errors.Is(err, store.ErrLocked) {
			return fmt.Errorf("another Gatehouse runs on %s; stop it, or give this one another data folder, or set redis-url so that both know each other", path)
		}
		if err != nil {
			return err
		}
		a.onClose(unlock)
	}
	if a.db, err = store.Open(ctx, s.DatabaseURL, store.Options{Logger: a.logger, Trace: s.trace}); err != nil {
		return err
	}
	a.onClose(func() { _ = a.db.Close() })
	if err := a.db.Migrate(ctx); err != nil {
		return err
	}
	if a.secrets, err = openSecrets(ctx, a.db, keys); err != nil {
		return err
	}
	return a.openFiles(ctx)
}

// writable makes the data folder and tries to write into it, so that a read-only one is known now.
func writable(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	probe, err := os.CreateTemp(folder, ".probe-*")
	if err != nil {
		return fmt.Errorf("the data folder %s cannot be written to: %w", folder, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func (a *app) openRedis(context.Context) error {
	s := a.settings
	if len(s.RedisURL) == 0 {
		a.bus = bus.Local()
		a.limiter = limit.New(nil, limit.Options{Namespace: s.Namespace})
		return nil
	}
	redis.SetLogger(redisLog{a.logger})
	var err error
	if a.redis, err = redisClient(s.RedisURL, cache.Tune); err != nil {
		return err
	}
	a.onClose(func() { _ = a.redis.Close() })
	if a.workRedis, err = redisClient(s.WorkRedisURL, tuneWork); err != nil {
		return err
	}
	a.onClose(func() { _ = a.workRedis.Close() })
	if a.remote, err = cache.NewRemote(a.redis, cache.RemoteOptions{Namespace: s.Namespace}); err != nil {
		return err
	}
	a.bus = bus.Redis(a.redis, s.Namespace, bus.Options{Logger: a.logger})
	counts, err := redisClient(s.RedisURL, limit.Tune) // waits longer than a cache may
	if err != nil {
		return err
	}
	a.onClose(func() { _ = counts.Close() })
	a.limiter = limit.New(counts, limit.Options{Namespace: s.Namespace})
	return nil
}

// tuneWork gives up soon on a Redis that is away: whoever starts a job waits for the push, and the
// sweeper repeats it. With go-redis's defaults each start of a job would take 1.7 s meanwhile.
func tuneWork(o *redis.UniversalOptions) {
	o.ContextTimeoutEnabled = true
	o.DialerRetries, o.MaxRetries = 1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, time.Second, time.Second // where no context says less
}

// notices is the bus as session and the caches see it.
type notices struct{ *bus.Bus }

// Subscribe implements session.Notices.
func (n notices) Subscribe(ctx context.Context, topic string, deliver func([]byte), gap func()) (func(), error) {
	return n.Bus.Subscribe(ctx, topic, bus.Listener{Deliver: deliver, Gap: gap})
}

// openPost opens the ways out for messages. In development what has no server of its own goes to the
// outbox, which stands at /outbox.
func (a *app) openPost(context.Context) error {
	s := a.settings
	o := notify.Options{Product: s.Product}
	if host := s.public.Hostname(); strings.Contains(host, ".") && net.ParseIP(host) == nil {
		o.Host = host // codes in SMS are bound to a domain
	}
	if !s.production() && (s.SMTPURL == "" || s.SMSURL == "") {
		var err error
		if a.outbox, err = notify.NewOutbox(filepath.Join(s.Data, "outbox"), notify.OutboxOptions{}); err != nil {
			return err
		}
		o.Mail, o.SMS = a.outbox, a.outbox
	}
	if s.SMTPURL != "" {
		mail, err := notify.NewSMTP(s.smtp)
		if err != nil {
			return fmt.Errorf("smtp-url: %w", err)
		}
		o.Mail = mail
	}
	if s.SMSURL != "" {
		sms, err := notify.NewSMS(s.sms)
		if err != nil {
			return fmt.Errorf("sms-url: %w", err)
		}
		o.SMS = sms
	}
	var err error
	a.post, err = notify.New(o)
	return err
}

func (a *app) openIdentity(ctx context.Context) (err error) {
	s, hear := a.settings, notices{a.bus}
	a.audit = audit.New(a.db, audit.Options{RequestID: telemetry.RequestID, Notices: hear, Retention: s.AuditRetention})
	record := func(ctx context.Context, tx *store.Tx, e session.Event) error {
		return a.audit.RecordTx(ctx, tx, auditEvent(e))
	}
	if a.keys, err = session.OpenKeys(ctx, a.db, a.secrets.ring, hear, session.KeyOptions{
		Algorithm: s.algorithm(), AccessTTL: session.ImpersonationTTL, Audit: record,
	}); err != nil {
		return err
	}
	a.sessions, err = session.New(a.db, a.keys, a.secrets.tokens, a.remote, hear, session.Options{
		Issuer: s.PublicURL, Audience: audience, Audit: record, Tell: a.tell, Logger: a.logger,
		Environment: s.keyEnvironment(), Limiter: a.limiter,
	})
	if err != nil {
		return err
	}
	a.onClose(a.sessions.Close)
	mfa, err := s.factors()
	if err != nil {
		return err
	}
	breaches, err := openBreaches(s, a.logger)
	if err != nil {
		return err
	}
	a.accounts, err = account.New(account.Parts{
		DB: a.db, Ring: a.secrets.ring, Root: a.secrets.index, Hasher: password.New(password.Options{}),
		Sessions: a.sessions, Audit: a.audit, Limiter: a.limiter, Notices: hear,
		Queue: a.queue, Post: a.post, Remote: a.remote, Breaches: breaches,
	}, account.Options{
		EmailVerification: account.EmailVerification(strings.ToUpper(s.EmailVerification)), Product: s.Product,
		PublicURL: s.PublicURL, LinkURL: s.LinkURL, MFA: mfa,
	})
	if err != nil {
		return err
	}
	a.onClose(a.accounts.Close)
	a.logins = login.New(a.db, a.accounts, a.sessions, a.audit, a.limiter, login.Limits{})
	return a.openProviders()
}

// openBreaches returns the range service of stolen passwords, nil when none is set.
func openBreaches(s Settings, logger *slog.Logger) (account.Breaches, error) {
	if s.BreachURL == "" {
		return nil, nil
	}
	return breach.New(s.BreachURL, breach.Options{Logger: logger})
}

// letters are the kinds of mail that tell the owner of what session tells.
var letters = map[string]notify.Kind{
	session.ActionSuspended: notify.SessionSuspended, session.ActionReused: notify.TokenReused,
	session.ActionKeyCreated:     notify.APIKeyCreated,
	session.ActionServiceCreated: notify.ServiceSecretCreated, session.ActionServiceRotated: notify.ServiceSecretCreated,
}

// tell has the owner told by mail of what session found.
func (a *app) tell(ctx context.Context, tx *store.Tx, e session.Event) error {
	return a.accounts.TellTx(ctx, tx, e.User, account.Notice{
		Kind: letters[e.Action], Device: e.Agent, Network: e.Network, Machine: e.Machine,
	})
}

// auditEvent turns what session tells into a row of the audit.
func auditEvent(e session.Event) audit.Event {
	details := map[string]string{}
	maps.Copy(details, e.Details)
	if e.Reason != "" {
		details["reason"] = string(e.Reason)
	}
	if e.Count > 1 {
		details["sessions"] = fmt.Sprint(e.Count)
	}
	if e.Agent != "" {
		details["agent"] = e.Agent
	}
	if e.From != "" {
		details["from"] = e.From
	}
	outcome := audit.Succeeded
	if e.Refused {
		outcome = audit.Refused
	}
	return audit.Event{
		Action: audit.Action(e.Action), Outcome: outcome, By: e.By, Subject: e.User, Session: e.Session, Network: e.Network, Details: details,
	}
}

func (a *app) openQueue(workers int) (err error) {
	s := a.settings
	wire := transport.Local(transport.Options{Namespace: s.Namespace, Logger: a.logger})
	if a.workRedis != nil {
		wire = transport.Redis(a.workRedis, transport.Options{Namespace: s.Namespace, Logger: a.logger})
	}
	answers, err := jobs.NewAnswers(a.remote, notices{a.bus}, a.limiter)
	if err != nil {
		return err
	}
	a.onClose(answers.Close)
	kinds := jobs.Kinds(jobs.Parts{
		Ring: a.secrets.ring, Post: a.post, Vault: a.secrets.vault, Answers: answers,
		Accounts: func() *account.Accounts { return a.accounts },
		Audit:    func() *audit.Log { return a.audit },
		Sections: a.exportSections, WebhookKeys: a.webhookKeys,
	}, jobs.Options{AllowPrivate: s.AllowPrivateFetch, ImageMemory: s.ImageMemoryBytes, Product: s.Product})
	if err := keep(kinds, s.Retention); err != nil {
		return err
	}
	a.queue, err = queue.New(a.db, wire, a.bus, a.files, kinds, queue.Options{
		Workers: workers, Queues: s.Queues, Shutdown: s.ShutdownTimeout, Logger: a.logger,
		OwnerRunning: s.OwnerRunning, Quota: queue.Quota{Open: s.OwnerOpenJobs, Stored: s.OwnerStoredBytes}, TokenKey: a.secrets.outside,
	})
	return err
}

// keep has the ended jobs of kinds kept for as long as retention says.
func keep(kinds []queue.Definition, retention map[string]time.Duration) error {
	for _, name := range slices.Sorted(maps.Keys(retention)) {
		i := slices.IndexFunc(kinds, func(k queue.Definition) bool { return k.Name == name })
		if i < 0 {
			return fmt.Errorf("retention: there is no kind of job called %q", name)
		}
		kinds[i].Retention = retention[name]
	}
	return nil
}

// webhookKeys returns what the webhooks of owner are signed with.
func (a *app) webhookKeys(ctx context.Context, owner viewer.UserID) ([][]byte, error) {
	secrets, err := a.sessions.WebhookSecrets(ctx, owner)
	keys := make([][]byte, len(secrets))
	for i := range secrets {
		keys[i] = secrets[i][:]
	}
	return keys, err
}

// exportSections is what the copy of a person's data consists of.
func (a *app) exportSections() []jobs.Section {
	return jobs.Sections(a.accounts, a.sessions, a.audit, a.queue)
}

// machinery runs what stands below HTTP until ctx ends. The queue ends first: its last writes need
// the rest.
func (a *app) machinery(ctx context.Context) error {
	under, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var rooms errgroup.Group
	rooms.Go(func() error { return named("bus", a.bus.Run(under)) })
	rooms.Go(func() error { return named("sessions", a.sessions.Run(under)) })
	rooms.Go(func() error { return a.janitor(under) })
	rooms.Go(func() error { return governMemory(under) })
	rooms.Go(func() error {
		return a.logins.Run(under, func(err error) { a.logger.WarnContext(under, "what had expired was not deleted", "error", err) })
	})
	if a.remote != nil {
		rooms.Go(func() error { return named("cache", a.remote.Run(under)) })
	}
	err := named("queue", a.queue.Run(ctx))
	stop()
	return errors.Join(err, rooms.Wait())
}

func named(room string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", room, err)
}

// How often, and from what age on, files that nobody knows are removed.
const (
	sweepEvery = time.Hour
	sweepAge   = 24 * time.Hour
)

// janitor removes uploads and artifacts that a crash has left behind, accounts whose time is over, proofs
// that are good no more and old events of the audit.
func (a *app) janitor(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		removed, err := a.files.Sweep(ctx, time.Now().Add(-sweepAge), func(key blob.Key) (bool, error) { return a.queue.Owned(ctx, key) })
		if err != nil && ctx.Err() == nil {
			a.logger.WarnContext(ctx, "files were not swept", "error", err)
		}
		if removed > 0 {
			a.logger.InfoContext(ctx, "files that nobody knew were removed", "files", removed)
		}
		if err := a.audit.Prune(ctx); err != nil && ctx.Err() == nil {
			a.logger.WarnContext(ctx, "old events of the audit were not all deleted", "error", err)
		}
		deleted, err := a.accounts.DeleteDue(ctx)
		if err = errors.Join(err, a.accounts.DeleteExpiredProofs(ctx)); err != nil && ctx.Err() == nil {
			a.logger.WarnContext(ctx, "accounts and proofs that are due were not all deleted", "error", err)
		}
		if deleted > 0 {
			a.logger.InfoContext(ctx, "accounts were deleted", "accounts", deleted)
		}
	}
}

// The bounds of a goodbye.
const (
	drainTimeout = 10 * time.Second // for requests, sockets and streams
	drainJitter  = 3 * time.Second  // over which sockets are told to come back

	// drainRead is for requests that were sent and not yet read: Shutdown drops those without an answer.
	drainRead = 200 * time.Millisecond
)

// run serves until ctx ends: then the server says that it is not ready, closes its listener, tells
// sockets to come back, answers what it has begun, lets the jobs end or hands them back, and closes.
func (a *app) run(ctx context.Context) error {
	defer a.close()
	machine, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all errgroup.Group
	failed := make(chan struct{}, 2)
	all.Go(func() error {
		defer func() { failed <- struct{}{} }()
		return a.machinery(machine)
	})
	all.Go(func() error {
		defer func() { failed <- struct{}{} }()
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) && !a.draining.Load() {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	select {
	case <-ctx.Done():
	case <-failed:
	}
	a.drain()
	stop()
	return all.Wait()
}

func (a *app) drain() {
	a.draining.Store(true)
	a.logger.Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var ending errgroup.Group
	ending.Go(func() error {
		_ = a.listener.Close() // nobody new
		a.server.SetKeepAlivesEnabled(false)
		<-time.After(drainRead)
		return a.server.Shutdown(ctx)
	})
	if a.edge != nil {
		ending.Go(func() error { return a.edge.Drain(ctx) })
	}
	if err := ending.Wait(); err != nil {
		a.logger.Warn("some requests were cut off", "error", err)
	}
}
