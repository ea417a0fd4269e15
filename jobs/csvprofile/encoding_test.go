package csvprofile

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

func utf16LE(text string) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return string(out)
}

func utf16BE(text string) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.BigEndian.AppendUint16(out, unit)
	}
	return string(out)
}

func TestEncodingsAreFoundAndConverted(t *testing.T) {
	text := "name,city\nZoë,Kraków\n😀,Reykjavík\n"
	rows := [][]string{{"Zoë", "Kraków"}, {"😀", "Reykjavík"}}
	padding := strings.Repeat("plain,text\n", sampleBytes/11+1)
	for _, c := range []struct {
		name, text string
		want       Encoding
		rows       [][]string
	}{
		{"UTF-8", text, UTF8, rows},
		{"UTF-8 with a mark", "\uFEFF" + text, UTF8, rows},
		{"UTF-16, little end first", "\xFF\xFE" + utf16LE(text), UTF16LE, rows},
		{"UTF-16, big end first", "\xFE\xFF" + utf16BE(text), UTF16BE, rows},
		{"windows-1252", "name,city\nZo\xEB,Krak\xF3w\n\x93q\x94,10 \x80\n", Windows1252, [][]string{{"Zoë", "Kraków"}, {"“q”", "10 €"}}},
		{"a rune cut by the end of the sample", "é,b\n" + padding[:sampleBytes-6] + "é\nx,y", UTF8, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := profileText(t, c.text, Options{Delimiter: ','})
			if got.Summary.Encoding != c.want {
				t.Errorf("encoding %s, want %s", got.Summary.Encoding, c.want)
			}
			if c.rows != nil {
				if diff := cmp.Diff(c.rows, got.Rows); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestBrokenUTF16MakesABadRow(t *testing.T) {
	text := "\xFF\xFE" + utf16LE("a,b\n1,") + "\x00\xD8" + utf16LE("\n3,4\n") + "5"
	got := profileText(t, text, Options{Delimiter: ','})
	want := [][]string{{"2", "INVALID_ENCODING", "1,\uFFFD"}, {"4", "INVALID_ENCODING", "\uFFFD"}}
	if diff := cmp.Diff(want, got.Rejects) + cmp.Diff([][]string{{"3", "4"}}, got.Rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
