// Package console carries the web pages of a Gatehouse server inside its binary.
//
// # Pages
//
// [Front] is the front page at "/": plain HTML without scripts. [Explorer] is GraphiQL under "/explorer", built from
// web/ into dist/, where the build is committed as gzip files, so that a server needs Go alone (web/README.md says
// how to rebuild). Neither page asks anything of another host: the policy of [Front] and [Explorer] forbids it.
//
// # Bounds
//
// The pages are fixed when the binary is built: under 2 MB packed, held once in memory. An answer to a client that
// does not accept gzip unpacks one file, at most 4 MB; every browser accepts it.
//
// # Use
//
//	mux.Handle("/{$}", console.Front())
//	mux.Handle("/explorer", console.Explorer())
//	mux.Handle("/explorer/", console.Explorer())
package console

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed all:dist front/index.html
var embedded embed.FS

// The explorer's files carry the hash of their content in their name, so they never change under it.
const (
	cacheHashed = "public, max-age=31536000, immutable"
	cachePage   = "no-cache" // ask each time; the entity tag makes the answer 304
)

// Front serves the front page at "/" and 404 for any other path.
func Front() http.Handler {
	html, err := embedded.ReadFile("front/index.html")
	if err != nil {
		panic(err) // the compiler put the file there
	}
	return pages{"/": newPage("index.html", pack(html), cachePage)}
}

// Explorer serves the explorer at "/explorer" and its assets below it, and 404 for any other path.
func Explorer() http.Handler {
	served := pages{}
	err := fs.WalkDir(embedded, "dist", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		packed, err := embedded.ReadFile(file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "dist/"), ".gz")
		cache := cachePage
		if strings.HasPrefix(name, "assets/") {
			cache = cacheHashed
		}
		served[path.Join("/explorer", name)] = newPage(name, packed, cache)
		return nil
	})
	if err != nil {
		panic(err) // a walk over what the compiler embedded
	}
	served["/explorer"] = served["/explorer/index.html"]
	served["/explorer/"] = served["/explorer/index.html"]
	delete(served, "/explorer/index.html")
	return served
}
