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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/test/services"

	"github.com/redis/go-redis/v9"
)

// sightings is every secret that the clients of a deployment have seen, by what it is.
type sightings struct {
	mu  sync.Mutex
	all map[string]string
}

func newSightings() *sightings { return &sightings{all: map[string]string{}} }

// add remembers a secret; what is shorter than a code is none.
func (s *sightings) add(what, secret string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(secret) >= needleHead {
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
// returns the secret itself. One walk looks for all of them: each is found by its first bytes.
func (s *sightings) find(content []byte) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	needles := map[[needleHead]byte][]needle{}
	var begins [1 << 16]bool // by the first two bytes, to pass over most places at once
	for secret, what := range s.all {
		for _, form := range forms(secret) {
			needles[[needleHead]byte([]byte(form))] = append(needles[[needleHead]byte([]byte(form))], needle{what, form})
			begins[int(form[0])<<8|int(form[1])] = true
		}
	}
	var found []string
	told := map[string]bool{}
	for at := range max(0, len(content)-needleHead+1) {
		if !begins[int(content[at])<<8|int(content[at+1])] {
			continue
		}
		for _, n := range needles[[needleHead]byte(content[at:])] {
			if !told[n.what] && n.stands(content, at) {
				told[n.what] = true
				found = append(found, fmt.Sprintf("a %s, after %q", n.what, content[max(0, at-60):at]))
			}
		}
	}
	return found
}

// needleHead is how many bytes a secret has at the least: the digits of a code.
const needleHead = 6

// needle is one form of a secret.
type needle struct{ what, form string }

// stands reports whether n stands at this place. The digits of a code count as a whole word only: others
// hold the same ones by chance.
func (n needle) stands(content []byte, at int) bool {
	if !bytes.HasPrefix(content[at:], []byte(n.form)) {
		return false
	}
	if strings.Trim(n.form, "0123456789") != "" {
		return true
	}
	end := at + len(n.form)
	return (at == 0 || !wordly(content[at-1])) && (end == len(content) || !wordly(content[end]))
}

func wordly(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '.'
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
	slices.Sort(all)
	return slices.Compact(all)
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
	client := redis.NewUniversalClient(services.RedisOptions(d.t, d.redis))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	search := func(ctx context.Context, node redis.UniversalClient) error {
		keys, err := node.Keys(ctx, "*").Result()
		for _, key := range keys {
			d.report("Redis", []byte(key+"\n"+redisValue(ctx, node, key)))
		}
		return err
	}
	err := error(nil)
	if cluster, ok := client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return search(ctx, node) })
	} else {
		err = search(ctx, client)
	}
	if err != nil {
		d.t.Logf("Redis is gone and was not searched: %v", err)
	}
}

// redisValue is the value of a key, whatever its type, as text.
func redisValue(ctx context.Context, c redis.UniversalClient, key string) string {
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
	s.add("code", "271828")
	for _, content := range []string{`{"code":"271828"}`, "271828", "a code of 271828, mailed"} {
		if len(s.find([]byte(content))) != 1 {
			t.Errorf("no code found in %q", content)
		}
	}
	for _, harmless := range []string{"nothing here", "", "x", "at 1271828", "took 0.271828s", "evt_271828a"} {
		if found := s.find([]byte(harmless)); found != nil {
			t.Errorf("found %v in %q", found, harmless)
		}
	}
}
