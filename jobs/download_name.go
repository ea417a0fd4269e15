package jobs

import (
	"fmt"
	"mime"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxFileNameBytes bounds the name of a downloaded file.
const maxFileNameBytes = 200

// fileName returns what a downloaded file is called: as its server says (RFC 6266, RFC 8187), or as the path
// of its address ends.
func fileName(disposition, address string) string {
	if _, parameters, err := mime.ParseMediaType(disposition); err == nil {
		if name := cleanFileName(parameters["filename"]); name != "" {
			return name
		}
	}
	if u, err := url.Parse(address); err == nil {
		if name := cleanFileName(u.Path); name != "" {
			return name
		}
	}
	return "download"
}

// cleanFileName returns the last part of a path as a name that is safe to show and to save under on any system:
// without folders, control characters and marks that turn text around, and neither hidden nor a device's.
func cleanFileName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, "_"), `\`, "/"))
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		case strings.ContainsRune(`/<>:"|?*`, r):
			return '_'
		}
		return r
	}, name)
	name = strings.TrimRight(strings.TrimLeft(name, " ._"), " .")
	if device(name) {
		name = "_" + name
	}
	return shorten(name, maxFileNameBytes)
}

// device reports whether Windows takes the name for a device.
func device(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch strings.TrimRight(stem, " 0123456789") {
	case "CON", "PRN", "AUX", "NUL", "COM", "LPT":
		return true
	}
	return false
}

// shorten cuts name to a number of bytes; a short extension stays.
func shorten(name string, bytes int) string {
	if len(name) <= bytes {
		return name
	}
	extension := path.Ext(name)
	if len(extension) > 20 {
		extension = ""
	}
	stem := name[:bytes-len(extension)]
	for !utf8.ValidString(stem) {
		stem = stem[:len(stem)-1]
	}
	return stem + extension
}

// unique returns name, with a number when it is taken in any case of letters, and takes it.
func unique(name string, taken map[string]bool) string {
	extension := path.Ext(name)
	free := name
	for n := 2; taken[strings.ToLower(free)]; n++ {
		free = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, extension), n, extension)
	}
	taken[strings.ToLower(free)] = true
	return free
}
