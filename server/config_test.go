package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"gatehouse/internal/secret"
)

// parse gives the settings that args and environ make.
func parse(t *testing.T, environ []string, args ...string) (Settings, error) {
	t.Helper()
	outside, err := readEnvironment(environ, filepath.Join(t.TempDir(), ".env"))
	if err != nil {
		return Settings{}, err
	}
	var cli commandLine
	parser, err := kong.New(&cli, kong.Resolvers(outside), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return Settings{}, err
	}
	cli.shortProviders = outside.takeProviders()
	if err := outside.unknown(parser.Model); err != nil {
		return Settings{}, err
	}
	return cli.Settings.complete(command.Command())
}

func TestContradictionsRefuseToStartAndSayWhatToWrite(t *testing.T) {
	key := "GATEHOUSE_SECRET_KEY=" + secret.NewKey().Text()
	for _, c := range []struct {
		name    string
		environ []string
		args    []string
		say     []string
	}{
		{"production without anything", nil, []string{"--env=production"}, []string{"secret-key", "public-url", "email-verification"}},
		{
			"production over plain HTTP",
			[]string{key},
			[]string{"--env=production", "--public-url=http://api.example.com", "--email-verification=optional"},
			[]string{"https"},
		},
		{"nobody to run jobs", nil, []string{"--workers=0"}, []string{"workers 0 without Redis"}},
		{"a queue that nobody serves", nil, []string{"--queues=default=4,messages=0"}, []string{"messages=0 without Redis"}},
		{"fewer workers than none", nil, []string{"--queues=default=-1"}, []string{"0 to 10000"}},
		{"jobs that are forgotten at once", nil, []string{"--retention=processCsv=1s"}, []string{"processCsv=1s", "1h"}},
		{"a quota below nothing", nil, []string{"--owner-open-jobs=-1"}, []string{"owner-open-jobs"}},
		{"a Redis that is a web page", nil, []string{"--redis-url=https://cache"}, []string{"redis-url", "redis://HOST:PORT/DB"}},
		{"a numbered database of a Cluster", nil, []string{"--redis-url=redis://a:1/2,redis://b:1/2"}, []string{"redis-url", "Cluster", "namespace"}},
		{"nodes with two passwords", nil, []string{"--redis-url=redis://:x@a:1,redis://:y@b:1"}, []string{"redis-url", "password", "b:1"}},
		{"nodes with and without TLS", nil, []string{"--redis-url=rediss://a:1?master_name=m,redis://b:1"}, []string{"redis-url", "scheme"}},
		{"a worker without Redis", nil, []string{"worker"}, []string{"redis-url"}},
		{"an allow-list that is missing", nil, []string{"--persisted-only"}, []string{"persisted-queries"}},
		{"profiles for everybody", nil, []string{"--debug-addr=0.0.0.0:6060"}, []string{"127.0.0.1"}},
		{"a wildcard origin", nil, []string{"--allowed-origins=https://*.example.com"}, []string{"wildcard"}},
		{"a proxy that is no network", nil, []string{"--trusted-proxies=proxy"}, []string{"10.0.0.0/8"}},
		{"a short key", []string{"GATEHOUSE_SECRET_KEY=abc"}, nil, []string{"32 bytes"}},
		{"a misspelt setting", []string{"GATEHOUSE_REDIS_URLS=redis://x"}, nil, []string{"GATEHOUSE_REDIS_URL?"}},
		{"a setting and its file", []string{key, "GATEHOUSE_SECRET_KEY_FILE=/x"}, nil, []string{"set one"}},
		{"addresses that nobody can confirm", []string{key}, []string{"--env=production", "--public-url=https://api.example.com"}, []string{"smtp-url", "optional"}},
		{"mail from nobody", nil, []string{"--smtp-url=smtp://mail.example.com"}, []string{"mail-from"}},
		{"a mail server that is a web page", nil, []string{"--smtp-url=https://mail.example.com", "--mail-from=a@example.com"}, []string{"smtp://"}},
		{"a second factor that nobody can have", nil, []string{"--mfa=required", "--mfa-methods=none"}, []string{"no method can be enrolled", "mfa=optional"}},
		{"a second factor that few could have", nil, []string{"--mfa=admins", "--mfa-methods=email"}, []string{"no method can be enrolled"}},
		{"an unknown second factor", nil, []string{"--mfa-methods=totp,pigeon"}, []string{"pigeon", "totp, passkey"}},
		{"passkeys of an address", nil, []string{"--mfa-methods=passkey", "--public-url=http://192.0.2.1:8080"}, []string{"passkey-rp-id"}},
		{"passkeys of another domain", nil, []string{"--mfa-methods=passkey", "--passkey-rp-id=example.com"}, []string{"no page is on"}},
		{
			"codes that nobody sends",
			[]string{key},
			[]string{"--env=production", "--public-url=https://api.example.com", "--email-verification=optional", "--mfa-methods=sms,email"},
			[]string{"sms-url", "smtp-url"},
		},
		{"an audit that forgets at once", nil, []string{"--audit-retention=24h"}, []string{"720h", "0 to keep"}},
		{"a bucket without keys", nil, []string{"--files-url=s3://files"}, []string{"s3-access-key", "AWS_ACCESS_KEY_ID"}},
		{
			"keys of hours",
			[]string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_SESSION_TOKEN=c"},
			[]string{"--files-url=s3://files"},
			[]string{"s3-access-key"},
		},
		{"files that are no bucket", []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}, []string{"--files-url=/srv/files"}, []string{"s3://"}},
		{
			"files in clear",
			[]string{key, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"},
			[]string{"--env=production", "--files-url=s3://files?endpoint=http://10.0.0.7:9000"},
			[]string{"https endpoint"},
		},
		{"SMS from nobody", nil, []string{"--sms-url=https://sms.example.com/send"}, []string{"sms-from"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(t, c.environ, c.args...)
			if err == nil {
				t.Fatal("it starts")
			}
			for _, word := range c.say {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the refusal does not say %q:\n%v", word, err)
				}
			}
		})
	}
}

func TestAFlagWinsOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	folder := t.TempDir()
	env := filepath.Join(folder, ".env")
	if err := os.WriteFile(env, []byte("GATEHOUSE_WORKERS=1\nGATEHOUSE_NAMESPACE=file\nGATEHOUSE_LOG_LEVEL=warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := readEnvironment([]string{"GATEHOUSE_WORKERS=2", "GATEHOUSE_NAMESPACE=environment"}, env)
	if err != nil {
		t.Fatal(err)
	}
	var cli commandLine
	parser, err := kong.New(&cli, kong.Resolvers(o))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--workers=3"}); err != nil {
		t.Fatal(err)
	}
	if cli.Workers != 3 || cli.Namespace != "environment" || cli.LogLevel != "warn" {
		t.Errorf("workers %d, namespace %s, level %s", cli.Workers, cli.Namespace, cli.LogLevel)
	}
}

func TestASecretIsReadFromItsFile(t *testing.T) {
	key := secret.NewKey()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := parse(t, []string{"GATEHOUSE_SECRET_KEY_FILE=" + path})
	if err != nil || s.root != key {
		t.Errorf("the key was not read: %v", err)
	}
}

func TestMaskedSettingsShowNoSecret(t *testing.T) {
	key := secret.NewKey().Text()
	s, err := parse(t, []string{"GATEHOUSE_SECRET_KEY=" + key, "GATEHOUSE_METRICS_TOKEN=hush-hush", "GATEHOUSE_S3_ACCESS_KEY=sim-sala", "AWS_ACCESS_KEY_ID=x", "GATEHOUSE_S3_SECRET_KEY=bim-bam"},
		"--files-url=s3://files", "--database-url=postgres://ada:opensesame@db/x", "--redis-url=redis://:alohomora@cache:6379/0")
	if err != nil {
		t.Fatal(err)
	}
	if s.bucket.AccessKey != "sim-sala" || s.bucket.SecretKey != "bim-bam" {
		t.Errorf("the keys of the bucket are %q and %q", s.bucket.AccessKey, s.bucket.SecretKey)
	}
	shown := strings.Join(s.masked(), "\n")
	for _, hidden := range []string{key, "hush-hush", "opensesame", "alohomora", "sim-sala", "bim-bam"} {
		if strings.Contains(shown, hidden) {
			t.Errorf("config check shows %q", hidden)
		}
	}
}

func TestEveryFlagIsShownByConfigCheckAndExplainedInTheDocs(t *testing.T) {
	docs, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var cli commandLine
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	shown := strings.Join(Settings{}.masked(), "\n")
	for _, flag := range parser.Model.Flags {
		if flag.Name == "help" {
			continue
		}
		if !strings.Contains(string(docs), "`--"+flag.Name+"`") || !strings.Contains(string(docs), prefix+settingOf(flag.Name)) {
			t.Errorf("docs/operations.md does not explain --%s", flag.Name)
		}
		if !regexp.MustCompile(`(?m)^` + flag.Name + ` `).MatchString(shown) {
			t.Errorf("config check does not show %s", flag.Name)
		}
	}
}

func TestTheDevelopmentKeyIsMadeOnceAndOnlyForItsOwner(t *testing.T) {
	s := Settings{Data: t.TempDir()}
	first, err := rootKey(s)
	if err != nil {
		t.Fatal(err)
	}
	second, err := rootKey(s)
	if err != nil || first != second {
		t.Errorf("a second start has another key: %v", err)
	}
	info, err := os.Stat(filepath.Join(s.Data, "secret.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file is %v, %v", info.Mode(), err)
	}
}
