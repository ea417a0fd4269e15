package password

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// commonList is 15,000 lines in the order of their bytes: the 12,000 most common passwords of 8
// characters and more, and the 3,000 most common short ones that are words, which serve to see through
// "dragon1984". Both come from the frequency list of zxcvbn-ts 4.1.3 (MIT, see common.LICENSE.txt). It
// is compressed for its size and because much of it is not nice to read.
//
//go:embed common.txt.gz
var commonList []byte

// commonPasswords unpacks the list at the first use, 2 ms, and shares its text: some 400 KB.
var commonPasswords = sync.OnceValue(func() []string {
	unpacked, err := gzip.NewReader(bytes.NewReader(commonList))
	if err != nil {
		panic("password: the embedded list is damaged: " + err.Error())
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		panic("password: the embedded list is damaged: " + err.Error())
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
})

func isListed(folded string) bool {
	_, found := slices.BinarySearch(commonPasswords(), folded)
	return found
}

// maxBlockBytes bounds the search for a block that a text repeats.
const maxBlockBytes = 64

// minRun is how many characters a run needs on average for a text to be made of runs.
const minRun = 4

// isPredictable reports whether text follows from its beginning: a block said again and again, runs
// along the alphabet or the keyboard, a date.
func isPredictable(text string) bool {
	return isRepeated(text) || isRuns(text) || isDate(text)
}

// isRepeated reports whether text is a block of at most minRun characters, or a common password, over
// and over; a last block may be cut short.
func isRepeated(text string) bool {
	for length := 1; length <= min(len(text)/2, maxBlockBytes); length++ {
		block := text[:length]
		if strings.HasPrefix(strings.Repeat(block, len(text)/length+1), text) {
			return utf8.RuneCountInString(block) <= minRun || isListed(block) || isRuns(block)
		}
	}
	return false
}

// isRuns reports whether text falls into runs of minRun characters or more on average, each step of
// which goes to the same character, to the next of the alphabet or to a neighbour on the keyboard.
func isRuns(text string) bool {
	runes := []rune(text)
	runs := 1
	for i := 1; i < len(runes); i++ {
		if !isStep(runes[i-1], runes[i]) {
			runs++
		}
	}
	return len(runes) >= minRun && runs*minRun <= len(runes)
}

func isStep(from, to rune) bool {
	if distance := to - from; distance >= -1 && distance <= 1 {
		return true
	}
	return strings.Contains(keyboardWalks, string([]rune{from, to})) ||
		strings.Contains(keyboardWalks, string([]rune{to, from}))
}

// keyboardWalks are the rows and columns of the common layouts (QWERTY, QWERTZ, AZERTY).
const keyboardWalks = "1234567890-= qwertyuiop[] asdfghjkl;' zxcvbnm,./ qwertzuiop yxcvbnm azertyuiop qsdfghjklm wxcvbn " +
	"!@#$%^&*()_+ 1qaz 2wsx 3edc 4rfv 5tgb 6yhn 7ujm 8ik, 9ol. 0p;/ 1aq 2zs 3ed"

// isDate reports whether the digits of text, with or without signs between them, are a day of the last
// or this century.
func isDate(text string) bool {
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ./-_", r) {
			return -1
		}
		return r
	}, text)
	if len(digits) != len("20060102") {
		return false
	}
	for _, layout := range []string{"20060102", "02012006", "01022006"} {
		if day, err := time.Parse(layout, digits); err == nil && day.Year() >= 1900 && day.Year() < 2100 {
			return true
		}
	}
	return false
}
