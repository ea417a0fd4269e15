package password

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// MinCharacters and MaxCharacters bound a new password, counted in Unicode code points after NFC
	// (NIST SP 800-63B §3.1.1.2 asks for at least 8 and allows a bound from 64 up).
	MinCharacters = 8
	MaxCharacters = 128

	// minHintCharacters is the shortest part of a hint that counts: "li" is in too many words.
	minHintCharacters = 4
	// minOwnCharacters is how many characters a password that holds a hint needs besides it.
	minOwnCharacters = 6
	// maxDecoration is how many digits and signs around a common word do not make it another.
	maxDecoration = 4
)

// Reason is why a password was refused.
type Reason string

const (
	TooShort Reason = "TOO_SHORT" // below MinCharacters
	TooLong  Reason = "TOO_LONG"  // above MaxCharacters
	Common   Reason = "COMMON"    // on the list of common passwords, or a pattern that is tried first
	Close    Reason = "CLOSE"     // little more than the e-mail address, the name or the product's name
)

// Weakness is the error of Check.
type Weakness struct {
	Reason Reason
}

// Error is a sentence for the person.
func (w *Weakness) Error() string {
	switch w.Reason {
	case TooShort:
		return "The password needs at least 8 characters."
	case TooLong:
		return "The password may have at most 128 characters."
	case Close:
		return "The password is too close to your name, your address or ours."
	default:
		return "The password is one of those that are guessed first."
	}
}

// Check returns a *Weakness if secret is no good new password, else nil. The hints are what an
// attacker knows of this person: the e-mail address, the name, the product's name.
func Check(secret string, hints ...string) error {
	if len(secret) > MaxSecretBytes {
		return &Weakness{TooLong}
	}
	switch length := utf8.RuneCount(normalise(secret)); {
	case length < MinCharacters:
		return &Weakness{TooShort}
	case length > MaxCharacters:
		return &Weakness{TooLong}
	}
	folded := fold(secret)
	switch {
	case isCommon(folded):
		return &Weakness{Common}
	case isClose(folded, hints):
		return &Weakness{Close}
	}
	return nil
}

// fold makes spellings equal that an attacker tries together.
func fold(text string) string { return strings.ToLower(norm.NFKC.String(text)) }

// isCommon reports whether folded, or the word inside its decoration, is listed or predictable.
func isCommon(folded string) bool {
	for _, spelling := range spellings(folded) {
		if isListed(spelling) || isPredictable(spelling) {
			return true
		}
	}
	head, word, tail := splitDecoration(folded)
	return isTrivial(head) && isTrivial(tail) && slices.ContainsFunc(spellings(word), isListed)
}

// isTrivial reports whether digits and signs around a word add nothing.
func isTrivial(decoration string) bool {
	return utf8.RuneCountInString(decoration) <= maxDecoration || isPredictable(decoration)
}

// splitDecoration cuts off what is not a letter at both ends.
func splitDecoration(folded string) (head, word, tail string) {
	start := strings.IndexFunc(folded, unicode.IsLetter)
	if start < 0 {
		return folded, "", ""
	}
	end := strings.LastIndexFunc(folded, unicode.IsLetter)
	_, size := utf8.DecodeRuneInString(folded[end:])
	end += size
	return folded[:start], folded[start:end], folded[end:]
}

// lookalikes undo digits and signs that stand for letters; "1" stands for two of them.
var lookalikes = [...]*strings.Replacer{
	strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "8", "b", "@", "a", "$", "s", "!", "i"),
	strings.NewReplacer("0", "o", "1", "l", "3", "e", "4", "a", "5", "s", "7", "t", "8", "b", "@", "a", "$", "s", "!", "l"),
}

// spellings returns folded as it stands and with its lookalikes undone.
func spellings(folded string) []string {
	all := []string{folded}
	for _, plain := range lookalikes {
		all = append(all, plain.Replace(folded))
	}
	return all
}

// isClose reports whether folded is little more than a part of a hint, forwards or backwards.
func isClose(folded string, hints []string) bool {
	for _, hint := range hints {
		for _, part := range hintParts(fold(hint)) {
			for _, spelling := range spellings(folded) {
				if barelyHides(spelling, part) || barelyHides(spelling, reverse(part)) {
					return true
				}
			}
		}
	}
	return false
}

// barelyHides reports whether text is part and fewer than minOwnCharacters others.
func barelyHides(text, part string) bool {
	rest := strings.ReplaceAll(text, part, "")
	return rest != text && utf8.RuneCountInString(rest) < minOwnCharacters
}

// hintParts returns the words of a hint and the hint itself without its punctuation:
// "ada.lovelace@mail.example" gives ada (too short to count), lovelace, mail, example, adalovelace and
// the whole.
func hintParts(hint string) []string {
	apart := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	local, _, _ := strings.Cut(hint, "@")
	candidates := append(strings.FieldsFunc(hint, apart),
		hint, strings.Join(strings.FieldsFunc(hint, apart), ""), strings.Join(strings.FieldsFunc(local, apart), ""))
	var parts []string
	for _, candidate := range candidates {
		if utf8.RuneCountInString(candidate) >= minHintCharacters {
			parts = append(parts, candidate)
		}
	}
	return parts
}

func reverse(text string) string {
	runes := []rune(text)
	slices.Reverse(runes)
	return string(runes)
}
