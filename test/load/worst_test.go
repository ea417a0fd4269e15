//go:build linux

package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// measureWorst sends documents that are built to cost as much as the limits let them, each time a
// little different so that no cache knows it, and takes the server's CPU time. The guard's own
// benchmark has more of them without execution: go test -bench WorstDocument ./server/guard.
func measureWorst(t *testing.T, b *bench) {
	house := b.gatehouse(t, anyCore, t.TempDir())
	ada := register(t, house.addr, 1)
	fillWithJobs(t, house, ada, 150)
	type result struct {
		name  string
		spent float64
	}
	var results []result
	repeats := of(b, 20, 6)
	documents := expensive()
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		c, err := dial(house.addr)
		if err != nil {
			t.Fatal(err)
		}
		var each []float64
		for i := range repeats {
			attack := request(ada.Access, fmt.Sprintf("#%d\n%s", i, documents[name]))
			before := house.cpu(t)
			if _, _, err := c.exchange(attack, nil); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			each = append(each, millis(house.cpu(t)-before))
		}
		c.Close()
		results = append(results, result{name, middle(each)})
	}
	slices.SortFunc(results, func(x, y result) int { return int(1000 * (y.spent - x.spent)) })
	var next []string
	for _, one := range results {
		t.Logf("%-40s %.2f ms", one.name, one.spent)
	}
	for _, one := range results[1:4] {
		next = append(next, fmt.Sprintf("%s %.1f", one.name, one.spent))
	}
	b.atMost(t, "worst CPU of one document, over HTTP and executed", 25, results[0].spent, " ms",
		fmt.Sprintf("%s; then %s; %d documents, median of %d each, never cached", results[0].name, strings.Join(next, ", "), len(documents), repeats))
}

// expensive are documents against the schema that is served.
func expensive() map[string]string {
	repeat := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i) + " ")
		}
		return b.String()
	}
	job := "id kind queue state priority progress{done total fraction stage} sequence attempt maxAttempts input createdAt runAt startedAt finishedAt expiresAt error{code message}"
	return map[string]string{
		"a page of 100 jobs":             "{jobs(first:100){nodes{" + job + "} pageInfo{hasNextPage}}}",
		"100 jobs with all they have":    "{jobs(first:100){nodes{" + job + " owner{id email} attempts{number startedAt finishedAt log} artifacts{id name url sha256}} totalCount}}",
		"100 jobs with results":          "{jobs(first:100){nodes{id result{... on CsvSummary{rows bytes columns{name type min max}}} artifacts{url}}}}",
		"100 edges with owners":          "{jobs(first:100){edges{cursor node{" + job + " owner{id email name}}} totalCount}}",
		"five pages of 100 by alias":     "{" + repeat(5, func(i int) string { return fmt.Sprintf("a%d:jobs(first:100){nodes{id kind state owner{id}}}", i) }) + "}",
		"fifteen pages by alias":         "{" + repeat(15, func(i int) string { return fmt.Sprintf("a%d:jobs(first:20){nodes{id kind state owner{id email}}}", i) }) + "}",
		"jobs of owners of jobs":         "{jobs(first:20){nodes{owner{jobs(first:20){nodes{id owner{email}}}}}}}",
		"jobs of owners of jobs, thrice": "{jobs(first:8){nodes{owner{jobs(first:8){nodes{owner{jobs(first:8){nodes{id}}}}}}}}}",
		"sessions of owners":             "{jobs(first:100){nodes{owner{sessions{nodes{id userAgent network}}}}}}",
		"me fifteen times":               "{" + repeat(15, func(i int) string { return fmt.Sprintf("a%d:me{id email name roles sessions{nodes{id}}}", i) }) + "}",
		"100 nodes":                      "{nodes(ids:[" + repeat(100, func(i int) string { return fmt.Sprintf(`"job_%026d"`, i) }) + "]){id}}",
		"introspection":                  "{__schema{types{kind name description fields(includeDeprecated:true){name description args{name type{kind name ofType{kind name ofType{name}}}} type{kind name ofType{kind name ofType{name}}}} inputFields{name} enumValues{name}}}}",
		"introspection by aliases":       "{" + repeat(15, func(i int) string { return fmt.Sprintf("a%d:__schema{types{fields{type{fields{name}}}}}", i) }) + "}",
		"introspection in a circle":      "{__schema{types" + strings.Repeat("{fields{type", 6) + "{name}" + strings.Repeat("}}", 6) + "}}",
		"one field 90 times":             "{me{" + strings.Repeat("id ", 90) + "}}",
		"one field 990 times":            "{me{" + strings.Repeat("id ", 990) + "}}",
		"fields that are not there":      "{" + repeat(900, func(i int) string { return fmt.Sprintf("nothing%d", i) }) + "}",
		"fields that are nearly there":   "{me{" + repeat(900, func(i int) string { return fmt.Sprintf("sessionss%d", i) }) + "}}",
		"types that are not there":       "{" + repeat(190, func(i int) string { return fmt.Sprintf("...on Sesion%d{id}", i) }) + "}",
		"long names":                     "{" + repeat(900, func(i int) string { return fmt.Sprintf("%s%d", strings.Repeat("a", 124), i) }) + "}",
		"a very long block string":       `{job(id:"""` + strings.Repeat(" x\n", 43_000) + `"""){id}}`,
		"a long string of escapes":       `{job(id:"` + strings.Repeat(`\u00e9`, 20_000) + `"){id}}`,
		"white space":                    "{me{id" + strings.Repeat(" \n,", 40_000) + "}}",
		"many comments":                  "{me{id " + strings.Repeat("#x\n", 900) + "}}",
		"many fragments of the same":     "{me{" + repeat(20, func(i int) string { return fmt.Sprintf("...F%d", i) }) + "}}" + repeat(20, func(i int) string { return fmt.Sprintf("fragment F%d on User{jobs{nodes{id}} jobs{nodes{id}}}", i) }),
		"fragments that spread all": "{...F0} " + repeat(18, func(i int) string {
			return fmt.Sprintf("fragment F%d on Query{%s}", i, repeat(18, func(k int) string { return fmt.Sprintf("...F%d", k) }))
		}),
		"fragments that double": "{me{...F0}} " + repeat(60, func(i int) string {
			return fmt.Sprintf("fragment F%d on User{jobs{nodes{owner{...F%d}}} x:jobs{nodes{owner{...F%d}}}}", i, i+1, i+1)
		}) + "fragment F60 on User{id}",
		"a chain of fragments":      "{...F0} " + repeat(100, func(i int) string { return fmt.Sprintf("fragment F%d on Query{...F%d}", i, i+1) }) + "fragment F100 on Query{me{id}}",
		"conflicts":                 "{" + repeat(90, func(i int) string { return fmt.Sprintf(`a:job(id:"%d"){id}`, i) }) + "}",
		"the same argument again":   "{jobs(" + strings.Repeat("first:1 ", 320) + "){totalCount}}",
		"wrong enum values":         "{jobs(filter:{states:[" + strings.Repeat("RUNING ", 900) + "]}){totalCount}}",
		"many filters":              "{jobs(first:100,filter:{states:[" + strings.Repeat("SUCCEEDED ", 190) + "]}){nodes{id} totalCount}}",
		"directives nobody defined": "{me" + strings.Repeat("@x", 490) + "{id}}",
		"directives":                "{me" + strings.Repeat("@include(if:true)", 160) + "{id}}",
		"many operations":           repeat(100, func(i int) string { return fmt.Sprintf("query Q%d{...F}", i) }) + "fragment F on Query{" + repeat(95, func(i int) string { return fmt.Sprintf("a%d:me{id}", i) }) + "}",
		"braces":                    strings.Repeat("{", 100_000),
		"an unclosed string":        `{job(id:"` + strings.Repeat("x", 900_000),
	}
}
