// Package schema holds the GraphQL schema, one file a word of the domain. It is the source: the
// executor in package graph is generated from it.
package schema

//go:generate go run gatehouse/internal/gqlgen

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.graphqls
var files embed.FS

// SDL returns the whole schema in the schema definition language.
func SDL() string {
	names, err := fs.Glob(files, "*.graphqls")
	if err != nil {
		panic(err) // the pattern is ours
	}
	var b strings.Builder
	for i, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err) // the file is embedded
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.Write(text)
	}
	return b.String()
}
