package csvprofile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// Encoding names how the bytes of a file stand for text.
type Encoding string

// The encodings that are read. windows-1252 holds ISO 8859-1 but for its control characters.
const (
	UTF8        Encoding = "UTF-8"
	UTF16LE     Encoding = "UTF-16LE"
	UTF16BE     Encoding = "UTF-16BE"
	Windows1252 Encoding = "windows-1252"
)

// sampleBytes is how much of a file decides about its encoding, and of its text about the delimiter.
const sampleBytes = 64 << 10

// decode reads the sample from src and returns all of src as UTF-8 text, without a byte order mark.
func decode(src io.Reader) (io.Reader, Encoding, error) {
	sample, whole, err := readSample(src)
	if err != nil {
		return nil, "", err
	}
	encoding, mark, err := detectEncoding(sample, whole)
	if err != nil {
		return nil, "", err
	}
	all := io.MultiReader(bytes.NewReader(sample[mark:]), src)
	switch encoding {
	case UTF16LE:
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder().Reader(all), encoding, nil
	case UTF16BE:
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder().Reader(all), encoding, nil
	case Windows1252:
		return charmap.Windows1252.NewDecoder().Reader(all), encoding, nil
	}
	return all, encoding, nil
}

// readSample returns the first bytes of src, and whether that is all there is.
func readSample(src io.Reader) (sample []byte, whole bool, err error) {
	sample = make([]byte, sampleBytes)
	n, err := io.ReadFull(src, sample)
	switch {
	case errors.Is(err, io.EOF): // nothing at all
		return nil, true, ErrEmpty
	case errors.Is(err, io.ErrUnexpectedEOF):
		return sample[:n], true, nil
	}
	return sample[:n], false, err
}

// detectEncoding judges the sample; mark is the length of the byte order mark to pass over.
func detectEncoding(sample []byte, whole bool) (encoding Encoding, mark int, err error) {
	switch {
	case bytes.HasPrefix(sample, []byte{0xEF, 0xBB, 0xBF}):
		return UTF8, 3, nil
	case bytes.HasPrefix(sample, []byte{0xFF, 0xFE}):
		return UTF16LE, 2, nil
	case bytes.HasPrefix(sample, []byte{0xFE, 0xFF}):
		return UTF16BE, 2, nil
	}
	if err := refuseBinary(sample); err != nil {
		return "", 0, err
	}
	if !whole {
		sample = withoutCutRune(sample)
	}
	switch {
	case utf8.Valid(sample):
		return UTF8, 0, nil
	case likelyWindows1252(sample):
		return Windows1252, 0, nil
	}
	return "", 0, ErrEncoding
}

// withoutCutRune drops the beginning of a rune at the end of a sample.
func withoutCutRune(sample []byte) []byte {
	for back := 1; back < utf8.UTFMax && back <= len(sample); back++ {
		last := sample[len(sample)-back:]
		if utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return sample[:len(sample)-back]
			}
			return sample
		}
	}
	return sample
}

// likelyWindows1252 holds for a sample without the five bytes that windows-1252 leaves undefined and
// whose bytes above ASCII mostly stand alone, as accented letters and typographic signs do. In text of
// other alphabets and in multi-byte encodings (Shift JIS, GBK, KOI8-R, …) they stand in runs.
func likelyWindows1252(sample []byte) bool {
	alone, inRuns := 0, 0
	for i, b := range sample {
		switch {
		case b < utf8.RuneSelf:
		case b == 0x81 || b == 0x8D || b == 0x8F || b == 0x90 || b == 0x9D:
			return false
		case i > 0 && sample[i-1] >= utf8.RuneSelf, i+1 < len(sample) && sample[i+1] >= utf8.RuneSelf:
			inRuns++
		default:
			alone++
		}
	}
	return alone >= inRuns
}

// validText tells whether a row, already converted to UTF-8, was valid in the file's encoding. A
// decoder puts U+FFFD where UTF-16 is broken; every byte of windows-1252 stands for something.
func validText(row []byte, encoding Encoding) bool {
	switch encoding {
	case UTF8:
		return utf8.Valid(row)
	case UTF16LE, UTF16BE:
		return !bytes.Contains(row, []byte("\uFFFD"))
	}
	return true
}

// refuseBinary is ErrNotCSV for what is plainly another kind of file.
func refuseBinary(sample []byte) error {
	for _, kind := range []struct{ prefix, name string }{
		{"PK\x03\x04", "a ZIP archive or an Excel workbook; export the sheet as CSV"},
		{"\xD0\xCF\x11\xE0", "an old Excel workbook; export the sheet as CSV"},
		{"\x1F\x8B", "a gzip file; unpack it first"},
		{"\x28\xB5\x2F\xFD", "a Zstandard file; unpack it first"},
		{"%PDF-", "a PDF"},
		{"<!doctype html", "a web page"},
		{"<html", "a web page"},
	} {
		if len(sample) >= len(kind.prefix) && bytes.EqualFold(sample[:len(kind.prefix)], []byte(kind.prefix)) {
			return fmt.Errorf("%w but %s", ErrNotCSV, kind.name)
		}
	}
	if at := bytes.IndexByte(sample, 0); at >= 0 {
		return fmt.Errorf("%w but binary, or UTF-16 without a byte order mark: byte %d is NUL", ErrNotCSV, at+1)
	}
	return nil
}
