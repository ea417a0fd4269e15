package csvprofile

import (
	"encoding/binary"
	"math/bits"
)

// stops are four bytes to look for at once, each repeated over a word; fewer are given by repetition.
type stops [4]uint64

const (
	eachLow  = 0x0101010101010101 // the lowest bit of each byte of a word
	eachHigh = 0x8080808080808080 // the highest
)

func newStops(a, b, c, d byte) *stops {
	return &stops{eachLow * uint64(a), eachLow * uint64(b), eachLow * uint64(c), eachLow * uint64(d)}
}

// next returns where, from at, the first of the four stands in text, or len(text). Eight bytes are
// tested at a time: a word minus eachLow borrows into the high bit of a byte that was zero. A borrow
// may run into bytes after it, so only the first hit of a word counts.
func (s *stops) next(text []byte, at int) int {
	for ; at+8 <= len(text); at += 8 {
		word := binary.LittleEndian.Uint64(text[at:])
		a, b, c, d := word^s[0], word^s[1], word^s[2], word^s[3]
		hits := ((a-eachLow)&^a | (b-eachLow)&^b | (c-eachLow)&^c | (d-eachLow)&^d) & eachHigh
		if hits != 0 {
			return at + bits.TrailingZeros64(hits)/8
		}
	}
	for ; at < len(text); at++ {
		if char := text[at]; char == byte(s[0]) || char == byte(s[1]) || char == byte(s[2]) || char == byte(s[3]) {
			break
		}
	}
	return at
}
