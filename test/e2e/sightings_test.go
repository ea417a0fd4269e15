package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// sightings is every secret that the clients of a deployment have seen, by what it is.
type sightings struct {
	mu  sync.Mutex
	all map[string]string
}

func newSightings() *sightings { return &sightings{all: map[string]string{}} }

// add remembers a secret; "" is none.
func (s *sightings) add(what, secret string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret != "" {
		s.all[secret] = what
	}
	return secret
}

// email draws an address that nobody else has.
func (s *sightings) email() string {
	return s.add("e-mail address", strings.ToLower("ada."+rand.Text()[:12])+"@example.com")
}

// password draws a good password.
func (s *sightings) password() string { return s.add("password", "Tea at four, "+rand.Text()[:16]) }

// find returns what of the secrets stands in content, in clear or in a form that hides nothing. It never
// returns the secret itself.
func (s *sightings) find(content []byte) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for secret, what := range s.all {
		for _, form := range forms(secret) {
			if at := bytes.Index(content, []byte(form)); at >= 0 {
				found = append(found, fmt.Sprintf("a %s, after %q", what, content[max(0, at-60):at]))
				break
			}
		}
	}
	return found
}

// forms are the ways in which a secret may stand somewhere without being hidden: in clear, in the
// hexadecimal digits in which PostgreSQL shows bytes, in a URL, in a JSON text, in base64 at each of the
// three offsets that it may have in what was encoded.
func forms(secret string) []string {
	all := []string{secret, hex.EncodeToString([]byte(secret)), url.QueryEscape(secret), url.PathEscape(secret)}
	if quoted, err := json.Marshal(secret); err == nil {
		all = append(all, strings.Trim(string(quoted), `"`))
	}
	for offset := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), secret...))
		inner := encoded[min(len(encoded), 4*((offset+2)/3)):max(0, len(encoded)-2)] // its ends depend on the neighbours
		if len(inner) >= 8 {
			all = append(all, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
		}
	}
	return all
}

// watchSecrets searches, when the test and its processes have ended, all that they have left behind.
// Every test of a deployment does so; it only has to hand its secrets to d.seen.
func (d *deployment) watchSecrets() { d.t.Cleanup(d.searchAll) }

// searchAll fails the test for each secret in seen that stands in a log, in a file of the data folder (the
// bytes of SQLite and its journal, artifacts), in a row of PostgreSQL or in a value of Redis. The outbox
// is a mailbox and left out.
func (d *deployment) searchAll() {
	for _, p := range append(d.servers, d.workers...) {
		d.searchLog(p)
	}
	d.searchFolder()
	if strings.HasPrefix(d.database, "postgres") {
		d.searchPostgres()
	}
	if d.redis != "" {
		d.searchRedis()
	}
}

func (d *deployment) report(where string, content []byte) {
	for _, finding := range d.seen.find(content) {
		d.t.Errorf("%s holds %s", where, finding)
	}
}

// searchLog also fails the test on what no log may tell of.
func (d *deployment) searchLog(p *process) {
	text := p.log.String()
	d.report("the log of "+p.command.Args[1], []byte(text))
	for _, bad := range []string{"panic", "DATA RACE", "fatal error", "goroutine 1 ["} {
		if at := strings.Index(text, bad); at >= 0 {
			d.t.Errorf("the log of %s tells of %q:\n%s", p.command.Args[1], bad, text[at:min(len(text), at+4000)])
		}
	}
}

// searchFolder leaves the outbox out: that is the mailbox of development, and holds what is mailed.
func (d *deployment) searchFolder() {
	err := filepath.WalkDir(d.data, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && path == filepath.Join(d.data, "outbox") {
			return filepath.SkipDir
		}
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		d.report(strings.TrimPrefix(path, d.data+"/"), content)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		d.t.Errorf("search the data folder: %v", err)
	}
}

// query opens PostgreSQL and returns the first column of all rows as text.
func (d *deployment) query(statement string) ([]string, error) {
	db, err := sql.Open("pgx", d.database)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var values []string
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}

func (d *deployment) searchPostgres() {
	tables, err := d.query(`SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`)
	if err != nil {
		d.t.Errorf("list the tables: %v", err)
	}
	for _, table := range tables {
		rows, err := d.query(fmt.Sprintf(`SELECT t::text FROM %q t`, table))
		if err != nil {
			d.t.Errorf("read %s: %v", table, err)
		}
		d.report("table "+table, []byte(strings.Join(rows, "\n")))
	}
}

func (d *deployment) searchRedis() {
	options, err := redis.ParseURL(d.redis)
	if err != nil {
		d.t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		d.t.Logf("Redis is gone and was not searched: %v", err)
		return
	}
	for _, key := range keys {
		d.report("Redis", []byte(key+"\n"+redisValue(ctx, client, key)))
	}
}

// redisValue is the value of a key, whatever its type, as text.
func redisValue(ctx context.Context, c *redis.Client, key string) string {
	switch c.Type(ctx, key).Val() {
	case "string":
		return c.Get(ctx, key).Val()
	case "list":
		return strings.Join(c.LRange(ctx, key, 0, -1).Val(), "\n")
	case "set":
		return strings.Join(c.SMembers(ctx, key).Val(), "\n")
	case "hash":
		return fmt.Sprint(c.HGetAll(ctx, key).Val())
	case "zset":
		return strings.Join(c.ZRange(ctx, key, 0, -1).Val(), "\n")
	}
	return ""
}

func TestTheSearchFindsASecretInEveryFormThatHidesNothing(t *testing.T) {
	t.Parallel()
	s := newSightings()
	secret := s.password()
	for _, content := range []string{
		"x" + secret + "y", `\x00` + hex.EncodeToString([]byte(secret)), "?password=" + url.QueryEscape(secret),
		base64.StdEncoding.EncodeToString([]byte("1" + secret + "2")), base64.RawURLEncoding.EncodeToString([]byte("12" + secret)),
		base64.StdEncoding.EncodeToString([]byte("123" + secret + "4")),
	} {
		if len(s.find([]byte(content))) != 1 {
			t.Errorf("nothing found in %q", content)
		}
	}
	if found := s.find([]byte("nothing here")); found != nil {
		t.Errorf("found %v in a harmless text", found)
	}
}
