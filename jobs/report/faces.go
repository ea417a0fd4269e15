package report

import (
	"bytes"
	"fmt"
	"strings"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/text/unicode/norm"
)

// face is a style of the family as fpdf names it.
type face string

const (
	family      = "go"
	plain  face = ""
	bold   face = "B"

	box      = '□' // stands for each letter that the fonts lack
	ellipsis = "…"
)

// faces knows which letters the fonts have.
type faces struct {
	font   *sfnt.Font
	buffer sfnt.Buffer
}

func newFaces() (*faces, error) {
	font, err := sfnt.Parse(goregular.TTF) // the bold one has the same letters
	if err != nil {
		return nil, fmt.Errorf("read the font: %w", err)
	}
	return &faces{font: font}, nil
}

// addTo gives the fonts to a file, of which each embeds the letters that it uses. fpdf may write into what it
// is given.
func (f *faces) addTo(pdf *fpdf.Fpdf) {
	pdf.AddUTF8FontFromBytes(family, string(plain), bytes.Clone(goregular.TTF))
	pdf.AddUTF8FontFromBytes(family, string(bold), bytes.Clone(gobold.TTF))
}

// shown returns a text as the fonts can show it, on one line. What fpdf is given must not leave the basic plane.
func (f *faces) shown(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case r < ' ', !f.has(r):
			return box
		}
		return r
	}, norm.NFC.String(text))
}

func (f *faces) has(r rune) bool {
	if r > 0xffff {
		return false
	}
	glyph, err := f.font.GlyphIndex(&f.buffer, r)
	return err == nil && glyph != 0
}

// wide returns how wide a shown text is.
func (f *faces) wide(pdf *fpdf.Fpdf, style face, size float64, text string) float64 {
	pdf.SetFont(family, string(style), size)
	return pdf.GetStringWidth(text)
}

// maxShown bounds how many characters of a text are looked at, in runes: more fit on no line.
const maxShown = 400

// fit returns text as it is shown, cut to width.
func (f *faces) fit(pdf *fpdf.Fpdf, style face, size float64, text string, width float64) string {
	runes := []rune(f.shown(clip(text)))
	whole := string(runes)
	if f.wide(pdf, style, size, whole) <= width {
		return whole
	}
	for len(runes) > 0 {
		runes = runes[:len(runes)-1]
		if cut := strings.TrimRight(string(runes), " ") + ellipsis; pdf.GetStringWidth(cut) <= width {
			return cut
		}
	}
	return ""
}

// clip returns the beginning of text.
func clip(text string) string {
	n := 0
	for i := range text {
		if n++; n > maxShown {
			return text[:i]
		}
	}
	return text
}

// wrap returns text as lines of at most width.
func (f *faces) wrap(pdf *fpdf.Fpdf, style face, size float64, text string, width float64) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(f.shown(text)) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && f.wide(pdf, style, size, longer) > width {
			lines = append(lines, line)
			longer = word
		}
		line = longer
	}
	if line == "" {
		return lines
	}
	return append(lines, line)
}
