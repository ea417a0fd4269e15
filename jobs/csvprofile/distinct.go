package csvprofile

import (
	"math"
	"math/bits"
)

// maxExact is how many different values are counted exactly. Two of them share a 64-bit hash with a
// probability below 3e-14.
const maxExact = 1_024

// The HyperLogLog beyond: 2^14 registers of one byte, standard error 1.04/√2^14 = 0.81 %.
const (
	registerBits = 14
	registers    = 1 << registerBits
	maxRank      = 64 - registerBits + 1
)

// distinct counts different hashes: in a set that grows to 2,048 places of 8 bytes, then in 16 KiB of
// registers. It never holds both.
type distinct struct {
	set   []uint64 // open addressing, a power of two, at most half full; 0 is free
	size  int
	ranks []uint8 // nil while the set counts
}

// add takes the 64-bit hash of a value.
func (d *distinct) add(hash uint64) {
	if d.ranks != nil {
		d.rank(hash)
		return
	}
	hash = max(hash, 1) // 0 marks a free place
	if 2*d.size >= len(d.set) {
		d.grow()
	}
	if !insert(d.set, hash) {
		return
	}
	if d.size++; d.size > maxExact {
		d.estimate()
	}
}

// insert puts hash into set and tells whether it was new.
func insert(set []uint64, hash uint64) bool {
	mask := uint64(len(set) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		switch set[at] {
		case hash:
			return false
		case 0:
			set[at] = hash
			return true
		}
	}
}

func (d *distinct) grow() {
	larger := make([]uint64, max(16, 2*len(d.set)))
	for _, hash := range d.set {
		if hash != 0 {
			insert(larger, hash)
		}
	}
	d.set = larger
}

// estimate moves from the set to the registers.
func (d *distinct) estimate() {
	d.ranks = make([]uint8, registers)
	for _, hash := range d.set {
		if hash != 0 {
			d.rank(hash)
		}
	}
	d.set = nil
}

// rank keeps, in the register that the hash's first bits choose, the longest run of zeros that follows.
func (d *distinct) rank(hash uint64) {
	register := &d.ranks[hash>>(64-registerBits)]
	rank := uint8(bits.LeadingZeros64(hash<<registerBits|1<<(registerBits-1)) + 1)
	if rank > *register {
		*register = rank
	}
}

// count returns how many different hashes there were, and whether that is exact. The estimator is the
// improved raw one of Ertl (2017, "New cardinality estimation algorithms for HyperLogLog sketches",
// algorithm 6), which needs no correction tables and has no bias at either end.
func (d *distinct) count() (n int64, exact bool) {
	if d.ranks == nil {
		return int64(d.size), true
	}
	var histogram [maxRank + 1]float64
	for _, rank := range d.ranks {
		histogram[rank]++
	}
	z := registers * tau(1-histogram[maxRank]/registers)
	for rank := maxRank - 1; rank >= 1; rank-- {
		z = (z + histogram[rank]) / 2
	}
	z += registers * sigma(histogram[0]/registers)
	return int64(math.Round(min(registers*registers/(2*math.Ln2*z), 1<<62))), false
}

// sigma is x + Σ x^(2^k)·2^(k-1) for k from 1: the share of registers still at zero.
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	sum, weight := x, 1.0
	for {
		x *= x
		next := sum + x*weight
		if next == sum {
			return sum
		}
		sum, weight = next, 2*weight
	}
}

// tau is (1 - x - Σ (1 - x^(2^-k))²·2^-k for k from 1) / 3: the share of registers at their end.
func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	sum, weight := 1-x, 1.0
	for {
		x = math.Sqrt(x)
		weight /= 2
		next := sum - (1-x)*(1-x)*weight
		if next == sum {
			return sum / 3
		}
		sum = next
	}
}
