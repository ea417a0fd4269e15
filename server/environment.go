package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/joho/godotenv"
)

// prefix begins the name of every setting in the environment.
const prefix = "GATEHOUSE_"

// outside is what the environment and the .env file set: names without the prefix. A flag wins over
// the environment, the environment over .env, and NAME_FILE gives NAME the content of a file.
type outside map[string]string

// readEnvironment reads environ and, where it exists, the file at path.
func readEnvironment(environ []string, path string) (outside, error) {
	all := map[string]string{}
	file, err := godotenv.Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for name, value := range file {
		all[name] = value
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		all[name] = value
	}
	o := outside{}
	for name, value := range all {
		if setting, ours := strings.CutPrefix(name, prefix); ours && !strings.HasPrefix(setting, "TEST_") {
			o[setting] = value
		}
	}
	if err := o.readFiles(); err != nil {
		return nil, err
	}
	o.borrow(all)
	return o, nil
}

// borrow takes the keys of a bucket from where the tools of Amazon look for them, unless there are ours. Keys with a
// session token are good for hours only and would end while the server runs.
func (o outside) borrow(all map[string]string) {
	access, secret := settingOf("s3-access-key"), settingOf("s3-secret-key")
	if o[access] != "" || o[secret] != "" {
		return
	}
	if all["AWS_ACCESS_KEY_ID"] != "" && all["AWS_SECRET_ACCESS_KEY"] != "" && all["AWS_SESSION_TOKEN"] == "" {
		o[access], o[secret] = all["AWS_ACCESS_KEY_ID"], all["AWS_SECRET_ACCESS_KEY"]
	}
}

// readFiles replaces each NAME_FILE by NAME with the content of the file, without the last line end.
func (o outside) readFiles() error {
	for name, path := range o {
		setting, isFile := strings.CutSuffix(name, "_FILE")
		if !isFile || name == settingOf("oauth-file") { // that one is a flag
			continue
		}
		if _, both := o[setting]; both {
			return fmt.Errorf("both %s%s and %s%s are set; set one", prefix, setting, prefix, name)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read %s%s: %w", prefix, name, err)
		}
		o[setting] = strings.TrimRight(string(content), "\r\n")
		delete(o, name)
	}
	return nil
}

// settingOf returns the name in the environment of a flag.
func settingOf(flag string) string { return strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) }

// Validate implements kong.Resolver.
func (o outside) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (o outside) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if value, set := o[settingOf(flag.Name)]; set {
		return value, nil
	}
	return nil, nil
}

// unknown complains about settings that no flag reads: a misspelt one would be silence.
func (o outside) unknown(app *kong.Application) error {
	known := map[string]bool{}
	for _, group := range app.AllFlags(false) {
		for _, flag := range group {
			known[settingOf(flag.Name)] = true
		}
	}
	var strange []error
	for name := range o {
		if !known[name] {
			strange = append(strange, fmt.Errorf("%s%s is no setting%s", prefix, name, nearest(name, known)))
		}
	}
	slices.SortFunc(strange, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(strange...)
}

// nearest suggests the known name that shares most letters at its two ends with name.
func nearest(name string, known map[string]bool) string {
	best, shared := "", 2
	for k := range known {
		n, end := 0, 0
		for n < len(k) && n < len(name) && k[n] == name[n] {
			n++
		}
		for end < len(k)-n && end < len(name)-n && k[len(k)-1-end] == name[len(name)-1-end] {
			end++
		}
		if n+end > shared || n+end == shared && k < best {
			best, shared = k, n+end
		}
	}
	if best == "" {
		return "; see docs/operations.md"
	}
	return "; did you mean " + prefix + best + "?"
}
