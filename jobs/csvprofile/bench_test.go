package csvprofile

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// block is some 1 MiB of rows as a shop would export them: ids, names, amounts, dates, a quoted note.
func block(rows int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	cities := []string{"Paris", "Berlin", "Lisbon", "Kraków", "Reykjavík", "Tallinn"}
	var text []byte
	for id := range rows {
		text = fmt.Appendf(text, "%d,customer-%05d,%s,%d.%02d,%t,2024-%02d-%02dT%02d:%02d:%02dZ,\"said \"\"%x\"\", left\",%d\n",
			1_000_000+id, random.IntN(40_000), cities[random.IntN(len(cities))], random.IntN(5_000), random.IntN(100),
			random.IntN(2) == 0, 1+random.IntN(12), 1+random.IntN(28), random.IntN(24), random.IntN(60), random.IntN(60),
			random.Uint32(), random.IntN(90))
	}
	return text
}

const blockHeader = "id,customer,city,amount,paid,at,note,age\n"

// repeated gives a header, then one block again and again, in bytes bytes or a little more.
type repeated struct {
	block, rest []byte
	left        int64
}

func newRepeated(block []byte, bytes int64) *repeated {
	return &repeated{block: block, rest: []byte(blockHeader), left: bytes}
}

func (r *repeated) Read(into []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.left <= 0 {
			return 0, io.EOF
		}
		r.rest = r.block
	}
	n := copy(into, r.rest)
	r.rest, r.left = r.rest[n:], r.left-int64(n)
	return n, nil
}

func BenchmarkProfile(b *testing.B) {
	const size = 100 << 20
	rows := block(10_000)
	for name, options := range map[string]Options{
		"summary":           {},
		"summary+jsonlines": {Clean: io.Discard, Rejects: io.Discard},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Profile(context.Background(), newRepeated(rows, size), options); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	const size = 100 << 20
	rows := block(10_000)
	options, _ := Options{}.withDefaults()
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		scan := newScanner(newRepeated(rows, size), options)
		scan.setDelimiter(',')
		for {
			if _, err := scan.next(); err != nil {
				break
			}
		}
	}
}
