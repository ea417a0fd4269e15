package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/account"
	"gatehouse/internal/blob"
	"gatehouse/internal/breach"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/telemetry"
	"gatehouse/session"
	"gatehouse/session/token"
)

// Settings are what an operator can set. A field's help says what it needs and how it plays with
// others; docs/operations.md is the table.
type Settings struct {
	Env               string                   `enum:"development,production" default:"development" help:"development or production. Production refuses to start without its own secrets."`
	Addr              string                   `help:"Where to listen; 127.0.0.1:8080 for serve, 127.0.0.1:8081 for worker."`
	Data              string                   `default:"./data" help:"The folder for files and, with SQLite, the database."`
	FilesURL          string                   `name:"files-url" help:"The bucket for uploads and artifacts, s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION&path-style=true; the data folder when left out. Needed as soon as there is more than one machine."`
	S3AccessKey       string                   `name:"s3-access-key" help:"The access key of files-url; AWS_ACCESS_KEY_ID when left out."`
	S3SecretKey       string                   `name:"s3-secret-key" help:"The secret key of files-url; AWS_SECRET_ACCESS_KEY when left out."`
	DatabaseURL       string                   `help:"sqlite:PATH or postgres://…; SQLite in the data folder when left out."`
	RedisURL          []string                 `help:"redis://… or rediss://…: cache, messages between servers, limits. Several, or one with ?cluster=true, for Cluster; with ?master_name= they are Sentinels."`
	WorkRedisURL      []string                 `help:"Redis for the queue; the same as redis-url when left out. It must not evict."`
	Workers           int                      `default:"-1" help:"Jobs at once in this process; -1: four a core. 0 needs workers elsewhere, and so Redis."`
	Queues            map[string]int           `mapsep:"," help:"Queues with workers of their own, e.g. default=8,messages=2: so many of each run at once in this process, 0 none. The others share workers."`
	OwnerRunning      int                      `default:"0" help:"Jobs of one account that run at once over all servers; 0: any number."`
	OwnerOpenJobs     int                      `default:"10000" help:"Jobs of one account that have not ended; 0: any number."`
	OwnerStoredBytes  int64                    `default:"10737418240" help:"Bytes of the files of one account's jobs; 0: any number."`
	Retention         map[string]time.Duration `mapsep:"," help:"How long ended jobs of a kind are kept, e.g. processCsv=48h,processImage=24h; as the kind says when left out."`
	PublicURL         string                   `help:"Where clients reach the server, e.g. https://api.example.com. Links and tokens carry it."`
	EmailVerification string                   `help:"required or optional: whether an address must be confirmed before the first sign-in. optional in development."`
	MFA               string                   `name:"mfa" enum:"optional,required,admins" default:"optional" help:"Who must have a second factor: optional (nobody), required (everybody) or admins."`
	MFAMethods        []string                 `name:"mfa-methods" help:"Second factors on offer: totp, passkey, email, sms, or none. All of them in development, totp,passkey and with sms-url sms in production."`
	PasskeyRPID       string                   `name:"passkey-rp-id" help:"The domain that passkeys belong to, e.g. example.com; the host of public-url when left out. Changing it makes every passkey useless."`
	Product           string                   `default:"Gatehouse" help:"What people know the service as: messages and authenticator apps show it."`
	LinkURL           string                   `name:"link-url" help:"Where links in mails lead, with {purpose} and {token}, e.g. https://app.example.com/links/{purpose}#{token}; our own pages under public-url when left out."`
	BreachURL         string                   `name:"breach-url" help:"A range service of stolen passwords in the form of Have I Been Pwned, e.g. https://api.pwnedpasswords.com/range/. Off when left out."`
	SMTPURL           string                   `name:"smtp-url" help:"The mail server, smtp://USER:PASSWORD@HOST:587?tls=starttls or smtps://…. In development mail goes to /outbox when left out."`
	MailFrom          string                   `help:"Who mail is from, e.g. Gatehouse <no-reply@example.com>; needed with smtp-url."`
	SMSURL            string                   `name:"sms-url" help:"The form of an SMS vendor, https://USER:PASSWORD@HOST/PATH. In development SMS go to /outbox when left out."`
	SMSFrom           string                   `name:"sms-from" help:"The number or name that SMS are from; needed with sms-url."`
	SMSToken          string                   `name:"sms-token" help:"A bearer token for the SMS vendor, in place of user and password."`
	SMSFields         string                   `name:"sms-fields" help:"The names of the vendor's fields, from=From,to=To,body=Body when left out."`
	SecretKey         string                   `help:"32 random bytes in base64url, from which all keys at rest are made. Made in the data folder in development."`
	SecretKeyOlder    string                   `help:"Former secret keys, separated by commas: what they sealed can still be read. See keys rotate --at-rest."`
	FirstAdminLink    bool                     `help:"While there is no administrator, log a link at the start by which the first one is made, once."`
	SigningAlgorithm  string                   `enum:"EdDSA,ES256,RS256" default:"EdDSA" help:"Of access tokens: EdDSA, ES256 or RS256."`
	AllowedOrigins    []string                 `help:"Other origins whose pages may call the API, e.g. https://app.example.com."`
	TrustedProxies    []string                 `help:"Networks whose X-Forwarded-For is believed, e.g. 10.0.0.0/8."`
	Namespace         string                   `default:"gatehouse" help:"Begins every Redis key; deployments that share a Redis need different ones."`
	PersistedQueries  string                   `help:"A JSON file of allow-listed operations: hash to document." type:"path"`
	PersistedOnly     bool                     `help:"Run allow-listed operations only; needs persisted-queries."`
	MaxUploadBytes    int64                    `default:"2147483648" help:"The largest uploaded file, in bytes."`
	ImageMemoryBytes  int64                    `default:"805306368" help:"How much memory the images that jobs work on take together, in bytes; others wait."`
	MaxSocketsPerIP   int                      `name:"max-sockets-per-ip" default:"-1" help:"Open WebSockets and event streams of one IP address; -1: 200, and any number from this machine. 0: any number."`
	AllowPrivateFetch bool                     `help:"Let jobs fetch from loopback and private addresses."`
	ShutdownTimeout   time.Duration            `default:"20s" help:"How long jobs in hand may go on after the signal to stop."`
	LogLevel          string                   `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	LogFormat         string                   `enum:"text,json," default:"" help:"text or json; text in development."`
	MetricsToken      string                   `help:"/metrics asks for it as a Bearer token. Without one it is closed in production."`
	DebugAddr         string                   `help:"Where to serve net/http/pprof; loopback only. Off when left out."`
	AuditRetention    time.Duration            `default:"9600h" help:"How long the events of the audit are kept, at least 720h; 0: for ever."`
	OAuthFile         string                   `name:"oauth-file" help:"A JSON list of the identity providers that people may sign in through; see docs/operations.md." type:"path"`
	OAuthRedirectTo   []string                 `name:"oauth-redirect-to" help:"Pages that a sign-in through a provider may lead back to, matched exactly; the first is the default. The front page when left out."`

	beside  bool                          // this process only helps one that may be running
	listens bool                          // this process opens Addr
	trace   func(context.Context, string) // hears every SQL statement; of tests
	root    secret.Key
	older   []secret.Key
	proxies []netip.Prefix
	public  *url.URL
	local   bool // PublicURL was made from Addr
	smtp    notify.SMTPOptions
	sms     notify.SMSOptions
	mfa     account.MFA
	bucket  blob.S3 // of files-url

	shortProviders []map[string]string // providers by environment: member of oauth.Config to value
	providers      []providerSettings  // of oauth-file and of the environment
}

// listening returns the settings of a command that serves.
func (s Settings) listening() Settings {
	s.listens = true
	return s
}

// at returns the settings of a server that listens at addr: port 0 has become a real one.
func (s Settings) at(addr net.Addr) Settings {
	_, port, err := net.SplitHostPort(addr.String())
	if !s.local || err != nil {
		return s
	}
	public := *s.public
	public.Host = net.JoinHostPort(public.Hostname(), port)
	s.public, s.PublicURL = &public, public.String()
	return s
}

// production reports whether real people depend on this process.
func (s Settings) production() bool { return s.Env == "production" }

// keyEnvironment is the word in API keys, so that one of a test opens nothing in production.
func (s Settings) keyEnvironment() session.Environment {
	if s.production() {
		return session.Live
	}
	return session.Test
}

// sqlite reports whether the database is a file of this machine.
func (s Settings) sqlite() bool { return strings.HasPrefix(s.DatabaseURL, "sqlite:") }

// complete fills in what was left out and refuses what contradicts itself. All complaints come at once.
func (s Settings) complete(command string) (Settings, error) {
	if s.DatabaseURL == "" {
		s.DatabaseURL = "sqlite:" + filepath.Join(s.Data, "gatehouse.db")
	}
	if s.Addr == "" {
		s.Addr = "127.0.0.1:8080"
		if command == "worker" {
			s.Addr = "127.0.0.1:8081"
		}
	}
	if len(s.WorkRedisURL) == 0 {
		s.WorkRedisURL = s.RedisURL
	}
	if s.Workers == -1 {
		s.Workers = 4 * runtime.GOMAXPROCS(0)
	}
	if s.LogFormat == "" {
		s.LogFormat = string(telemetry.Text)
		if s.production() {
			s.LogFormat = string(telemetry.JSON)
		}
	}
	if s.EmailVerification == "" {
		s.EmailVerification = "optional"
		if s.production() {
			s.EmailVerification = "required"
		}
	}
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	s.checkAddresses(refuse)
	s.checkSecrets(refuse)
	s.checkFiles(refuse)
	s.checkPost(refuse)
	s.checkMFA(refuse)
	s.checkAudit(refuse)
	s.checkLinks(refuse)
	s.checkProviders(refuse)
	if s.runs(command) {
		s.checkRoles(command, refuse)
	}
	return s, errors.Join(problems...)
}

// minAuditRetention is the least that --audit-retention may be: an owner can say for a week that a change
// was not theirs, and whoever looks into it needs some time.
const minAuditRetention = 30 * 24 * time.Hour

func (s *Settings) checkAudit(refuse func(string, ...any)) {
	if s.AuditRetention != 0 && s.AuditRetention < minAuditRetention {
		refuse("audit-retention %v is too short to look into anything; write at least 720h, or 0 to keep events for ever", s.AuditRetention)
	}
}

// runs reports whether command starts the server's machinery.
func (s Settings) runs(command string) bool {
	return command == "serve" || command == "worker" || strings.HasPrefix(command, "config")
}

func (s *Settings) checkAddresses(refuse func(string, ...any)) {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		refuse("addr %q is no address to listen at; write HOST:PORT, e.g. 127.0.0.1:8080", s.Addr)
	}
	if s.PublicURL == "" {
		if s.production() {
			refuse("production needs public-url, e.g. https://api.example.com: links and tokens carry it")
		}
		if host == "" || host == "0.0.0.0" || host == "::" {
			host = "localhost"
		}
		s.PublicURL, s.local = "http://"+net.JoinHostPort(host, port), true
	}
	s.PublicURL = strings.TrimSuffix(s.PublicURL, "/")
	s.public, err = url.Parse(s.PublicURL)
	if err != nil || s.public.Host == "" || (s.public.Scheme != "http" && s.public.Scheme != "https") || s.public.Path != "" {
		refuse("public-url %q is no web address; write SCHEME://HOST without a path", s.PublicURL)
		s.public = &url.URL{}
	}
	if s.production() && s.public.Scheme == "http" {
		refuse("production needs an https public-url: cookies and tokens would travel in clear; terminate TLS in front and write https://…")
	}
	for _, network := range s.TrustedProxies {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			refuse("trusted-proxies: %q is no network; write e.g. 10.0.0.0/8 or 192.0.2.7/32", network)
			continue
		}
		s.proxies = append(s.proxies, prefix)
	}
	for _, origin := range s.AllowedOrigins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Path != "" || strings.Contains(origin, "*") {
			refuse("allowed-origins: %q is no origin; write SCHEME://HOST[:PORT], without wildcard or path", origin)
		}
	}
	if s.DebugAddr != "" && !isLoopback(s.DebugAddr) {
		refuse("debug-addr %q is open to the network; profiles hold secrets: write 127.0.0.1:PORT", s.DebugAddr)
	}
}

func (s *Settings) checkSecrets(refuse func(string, ...any)) {
	for text := range strings.FieldsFuncSeq(s.SecretKeyOlder, func(c rune) bool { return c == ',' || unicode.IsSpace(c) }) {
		key, err := secret.ParseKey(text)
		if err != nil {
			refuse("secret-key-older holds something else than 32 bytes in base64url, separated by commas")
			break
		}
		if slices.Contains(s.older, key) || text == s.SecretKey {
			refuse("secret-key-older names a key twice, or the secret key itself")
			break
		}
		s.older = append(s.older, key)
	}
	if len(s.older) >= secret.MaxKeys {
		refuse("secret-key-older names more than %d keys", secret.MaxKeys-1)
	}
	if s.SecretKey == "" {
		if s.production() {
			refuse("production needs secret-key: 32 random bytes in base64url (head -c 32 /dev/urandom | basenc --base64url); keep it, nothing at rest can be read without it")
		}
		return
	}
	key, err := secret.ParseKey(s.SecretKey)
	if err != nil {
		refuse("secret-key is not 32 bytes in base64url")
		return
	}
	s.root = key
}

func (s *Settings) checkPost(refuse func(string, ...any)) {
	var err error
	if s.SMTPURL != "" {
		if s.smtp, err = notify.ParseSMTP(s.SMTPURL); err != nil {
			refuse("smtp-url: %w", err)
		}
		if s.smtp.From, err = notify.ParseFrom(s.MailFrom); err != nil {
			refuse("mail-from: %w", err)
		}
	}
	if s.SMSURL == "" {
		return
	}
	if s.sms, err = notify.ParseSMS(s.SMSURL); err != nil {
		refuse("sms-url: %w", err)
	}
	if s.SMSFrom == "" {
		refuse("sms-url needs sms-from: the number or name that SMS are from")
	}
	s.sms.From, s.sms.Token = s.SMSFrom, s.SMSToken
	if s.SMSFields != "" {
		if s.sms.Fields, err = notify.ParseFields(s.SMSFields); err != nil {
			refuse("sms-fields: %w", err)
		}
	}
}

func (s *Settings) checkLinks(refuse func(string, ...any)) {
	if s.LinkURL != "" {
		if err := account.CheckLinkURL(s.LinkURL); err != nil {
			refuse("link-url: %w", err)
		}
		if s.production() && !strings.HasPrefix(s.LinkURL, "https://") {
			refuse("production needs an https link-url: whoever reads a link on its way gets into the account")
		}
	}
	if s.BreachURL != "" {
		if err := breach.CheckURL(s.BreachURL); err != nil {
			refuse("breach-url: %w", err)
		}
	}
}

func (s *Settings) checkRoles(command string, refuse func(string, ...any)) {
	if s.Workers < 0 {
		refuse("workers is %d; write -1 for four a core, or 0 and more", s.Workers)
	}
	own := 0
	for _, queue := range slices.Sorted(maps.Keys(s.Queues)) {
		switch n := s.Queues[queue]; {
		case n < 0 || n > 10_000:
			refuse("queues: %s=%d; write 0 to 10000", queue, n)
		case n == 0 && len(s.WorkRedisURL) == 0:
			refuse("queues: %s=0 without Redis: nobody would ever run its jobs", queue)
		default:
			own += n
		}
	}
	if s.OwnerRunning < 0 || s.OwnerRunning > 10_000 {
		refuse("owner-running is %d; write 1 to 10000, or 0 for any number", s.OwnerRunning)
	}
	if s.OwnerOpenJobs < 0 || s.OwnerStoredBytes < 0 {
		refuse("owner-open-jobs and owner-stored-bytes are 0, for no bound, or more")
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Retention)) {
		if d := s.Retention[kind]; d < time.Hour || d > maxRetention {
			refuse("retention: %s=%v; write 1h to 8784h", kind, d)
		}
	}
	if command == "worker" && s.Workers == 0 && own == 0 {
		refuse("a worker with workers 0 does nothing")
	}
	if command == "worker" && len(s.WorkRedisURL) == 0 {
		refuse("worker needs redis-url: without Redis the jobs wait inside the server's process")
	}
	if command != "worker" && s.Workers == 0 && len(s.WorkRedisURL) == 0 {
		refuse("workers 0 without Redis: nobody would ever run a job; set redis-url and start workers, or leave workers out")
	}
	for flag, addresses := range map[string][]string{"redis-url": s.RedisURL, "work-redis-url": s.WorkRedisURL} {
		if len(addresses) == 0 {
			continue
		}
		if _, err := redisOptions(addresses); err != nil {
			refuse("%s: %v", flag, err)
		}
	}
	if len(s.RedisURL) == 0 && len(s.WorkRedisURL) > 0 {
		refuse("work-redis-url without redis-url: servers could not tell each other of revoked sessions; set redis-url too")
	}
	if s.PersistedOnly && s.PersistedQueries == "" {
		refuse("persisted-only without persisted-queries: every operation would be refused")
	}
	if s.EmailVerification != "required" && s.EmailVerification != "optional" {
		refuse("email-verification is %q; write required or optional", s.EmailVerification)
	}
	if s.EmailVerification == "required" && s.production() && s.SMTPURL == "" {
		refuse("email-verification required needs smtp-url: nobody could confirm an address; set it, or write optional")
	}
	if s.MaxSocketsPerIP < -1 {
		refuse("max-sockets-per-ip is %d; write -1 for 200, 0 for no bound, or a number", s.MaxSocketsPerIP)
	}
	if s.MaxUploadBytes < 1<<20 {
		refuse("max-upload-bytes is below 1 MiB")
	}
	if s.ImageMemoryBytes < 16<<20 {
		refuse("image-memory-bytes is below 16 MiB: hardly an image would fit")
	}
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (s Settings) level() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // the command line knows only levels
	return level
}

func (s Settings) algorithm() token.Algorithm { return token.Algorithm(s.SigningAlgorithm) }

// maxRetention is the longest time for which ended jobs are kept.
const maxRetention = 366 * 24 * time.Hour

// listed returns m as it is written in a flag.
func listed[V any](m map[string]V) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, fmt.Sprintf("%s=%v", name, m[name]))
	}
	return strings.Join(pairs, ",")
}

// masked returns the settings as lines that may be shown.
func (s Settings) masked() []string {
	hidden := func(v string) string {
		if v == "" {
			return "(not set)"
		}
		return "(set, hidden)"
	}
	redacted := func(urls []string) string {
		shown := make([]string, len(urls))
		for i, u := range urls {
			shown[i] = store.Redact(u)
		}
		return strings.Join(shown, ",")
	}
	lines := []string{
		"env                 " + s.Env,
		"addr                " + s.Addr,
		"data                " + s.Data,
		"files-url           " + store.Redact(s.FilesURL),
		"s3-access-key       " + hidden(s.S3AccessKey),
		"s3-secret-key       " + hidden(s.S3SecretKey),
		"database-url        " + store.Redact(s.DatabaseURL),
		"redis-url           " + redacted(s.RedisURL),
		"work-redis-url      " + redacted(s.WorkRedisURL),
		fmt.Sprintf("workers             %d", s.Workers),
		"queues              " + listed(s.Queues),
		fmt.Sprintf("owner-running       %d", s.OwnerRunning),
		fmt.Sprintf("owner-open-jobs     %d", s.OwnerOpenJobs),
		fmt.Sprintf("owner-stored-bytes  %d", s.OwnerStoredBytes),
		"retention           " + listed(s.Retention),
		"public-url          " + s.PublicURL,
		"email-verification  " + s.EmailVerification,
		"mfa                 " + s.MFA,
		"mfa-methods         " + strings.Join(s.MFAMethods, ","),
		"passkey-rp-id       " + s.PasskeyRPID,
		"product             " + s.Product,
		"link-url            " + s.LinkURL,
		"breach-url          " + store.Redact(s.BreachURL),
		"smtp-url            " + hidden(s.SMTPURL),
		"mail-from           " + s.MailFrom,
		"sms-url             " + hidden(s.SMSURL),
		"sms-from            " + s.SMSFrom,
		"sms-token           " + hidden(s.SMSToken),
		"sms-fields          " + s.SMSFields,
		"secret-key          " + hidden(s.SecretKey),
		"secret-key-older    " + hidden(s.SecretKeyOlder),
		fmt.Sprintf("first-admin-link    %t", s.FirstAdminLink),
		"signing-algorithm   " + s.SigningAlgorithm,
		"allowed-origins     " + strings.Join(s.AllowedOrigins, ","),
		"trusted-proxies     " + strings.Join(s.TrustedProxies, ","),
		"namespace           " + s.Namespace,
		"persisted-queries   " + s.PersistedQueries,
		fmt.Sprintf("persisted-only      %t", s.PersistedOnly),
		fmt.Sprintf("max-upload-bytes    %d", s.MaxUploadBytes),
		fmt.Sprintf("image-memory-bytes  %d", s.ImageMemoryBytes),
		fmt.Sprintf("max-sockets-per-ip  %d", s.MaxSocketsPerIP),
		fmt.Sprintf("allow-private-fetch %t", s.AllowPrivateFetch),
		fmt.Sprintf("shutdown-timeout    %v", s.ShutdownTimeout),
		fmt.Sprintf("audit-retention     %v", s.AuditRetention),
		"log-level           " + s.LogLevel,
		"log-format          " + s.LogFormat,
		"metrics-token       " + hidden(s.MetricsToken),
		"debug-addr          " + s.DebugAddr,
		"oauth-file          " + s.OAuthFile,
		"oauth-redirect-to   " + strings.Join(s.OAuthRedirectTo, ","),
	}
	return append(lines, s.maskedProviders()...)
}
