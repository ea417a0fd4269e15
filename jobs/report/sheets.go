package report

import (
	"io"
	"strings"

	"codeberg.org/go-pdf/fpdf"
)

// Lengths are in points, of which 72 are an inch.
const (
	margin     = 48
	headSpace  = 30 // above the text of all pages but the first
	footSpace  = 30
	blockSpace = 22 // before a table, a chart or notes
	lineHeight = 13
	maxFigures = 6
)

// The sizes of letters.
const (
	titleSize  = 22
	figureSize = 15
	blockSize  = 11.5
	textSize   = 9
	smallSize  = 7.5
)

// colour is red, green and blue.
type colour [3]int

// Ink and its lighter kin are read on white and in a print without colours.
const (
	inkLevel   = 33
	quietLevel = 105
	lineLevel  = 205
	bandLevel  = 243
)

// layers are the colours of a chart's series: told apart without red and green, and by their lightness in grey.
var layers = [...]colour{{47, 109, 181}, {201, 64, 86}, {237, 180, 88}, {163, 171, 181}}

// sheets are the pages of a document while it is laid out. Texts are placed by their baseline.
type sheets struct {
	d      *Document
	pdf    *fpdf.Fpdf
	faces  *faces
	width  float64 // of the paper
	bottom float64 // where the text of a page ends
	y      float64 // where the next block begins
}

func newSheets(d *Document) (*sheets, error) {
	faces, err := newFaces()
	if err != nil {
		return nil, err
	}
	pdf := fpdf.New("P", "pt", string(d.Paper), "")
	pdf.SetCatalogSort(true)
	pdf.SetCreationDate(d.Made.UTC())
	pdf.SetModificationDate(d.Made.UTC())
	pdf.SetProducer("Gatehouse", false)
	pdf.SetTitle(faces.shown(d.Title+" – "+d.Product), true)
	pdf.SetLang(d.Language.Tag)
	pdf.SetAutoPageBreak(false, 0)
	pdf.SetMargins(0, 0, 0)
	faces.addTo(pdf)
	s := &sheets{d: d, pdf: pdf, faces: faces}
	var height float64
	s.width, height = pdf.GetPageSize()
	s.bottom = height - margin - footSpace
	s.turn()
	return s, pdf.Error()
}

// inner is the width between the margins.
func (s *sheets) inner() float64 { return s.width - 2*margin }

// turn begins a page.
func (s *sheets) turn() {
	s.pdf.AddPage()
	s.y = margin
	if s.pdf.PageNo() > 1 {
		s.y += headSpace
	}
}

// room begins a page unless height is left on this one, and reports whether it did.
func (s *sheets) room(height float64) bool {
	if s.y+height <= s.bottom {
		return false
	}
	s.turn()
	return true
}

// block begins a block under a title, with room for height beneath it.
func (s *sheets) block(title string, height float64) {
	s.y += blockSpace
	s.room(blockSize + 10 + height)
	s.y += blockSize
	s.write(bold, blockSize, inkLevel, margin, s.y, s.faces.fit(s.pdf, bold, blockSize, title, s.inner()))
	s.y += 8
}

// write places a text that was fitted. A level is a grey from 0, black, to 255.
func (s *sheets) write(f face, size float64, level int, x, y float64, text string) {
	s.pdf.SetFont(family, string(f), size)
	s.pdf.SetTextColor(level, level, level)
	s.pdf.Text(x, y, text)
}

// writeRight is write with the end of the text at x.
func (s *sheets) writeRight(f face, size float64, level int, x, y float64, text string) {
	s.write(f, size, level, x-s.faces.wide(s.pdf, f, size, text), y, text)
}

// rule draws a line across the page.
func (s *sheets) rule(y float64, level int) {
	s.pdf.SetDrawColor(level, level, level)
	s.pdf.SetLineWidth(0.5)
	s.pdf.Line(margin, y, margin+s.inner(), y)
}

// heading writes what the report is.
func (s *sheets) heading() {
	s.y += textSize
	s.write(bold, textSize, quietLevel, margin, s.y, s.faces.fit(s.pdf, bold, textSize, s.d.Product, s.inner()))
	s.y += titleSize + 8
	s.write(bold, titleSize, inkLevel, margin, s.y, s.faces.fit(s.pdf, bold, titleSize, s.d.Title, s.inner()))
	s.y += 6
	for _, line := range s.d.Lines {
		s.y += lineHeight
		s.write(plain, textSize, quietLevel, margin, s.y, s.faces.fit(s.pdf, plain, textSize, line, s.inner()))
	}
	s.y += 14
	s.rule(s.y, lineLevel)
}

// figures writes the key figures side by side.
func (s *sheets) figures() {
	if len(s.d.Figures) == 0 {
		return
	}
	width := s.inner() / float64(len(s.d.Figures))
	for i, f := range s.d.Figures {
		x := margin + float64(i)*width
		s.write(bold, figureSize, inkLevel, x, s.y+26, s.faces.fit(s.pdf, bold, figureSize, f.Value, width-6))
		s.write(plain, smallSize, quietLevel, x, s.y+38, s.faces.fit(s.pdf, plain, smallSize, f.Name, width-6))
	}
	s.y += 46
}

// notes writes what the reader must know.
func (s *sheets) notes() {
	s.y += blockSpace
	for _, note := range s.d.Notes {
		for _, line := range s.faces.wrap(s.pdf, plain, smallSize, note, s.inner()) {
			s.room(lineHeight)
			s.y += lineHeight - 2
			s.write(plain, smallSize, quietLevel, margin, s.y, line)
		}
		s.y += 4
	}
}

// finish writes head and foot of each page, now that their number is known, and then the file.
func (s *sheets) finish(to io.Writer) (pages int, err error) {
	pages = s.pdf.PageCount()
	foot, right := s.bottom+footSpace, margin+s.inner()
	name := s.faces.fit(s.pdf, plain, smallSize, s.d.Title+" · "+s.d.Product, s.inner()-90)
	lines := s.faces.fit(s.pdf, plain, smallSize, strings.Join(s.d.Lines, " · "), s.inner())
	for page := 1; page <= pages; page++ { // ends on the last: fpdf writes the pages up to where it stands
		s.pdf.SetPage(page)
		s.rule(foot-14, lineLevel)
		s.write(plain, smallSize, quietLevel, margin, foot, name)
		s.writeRight(plain, smallSize, quietLevel, right, foot, s.d.Language.Say("page", page, pages))
		if page > 1 {
			s.write(plain, smallSize, quietLevel, margin, margin+smallSize, lines)
		}
	}
	return pages, s.pdf.Output(to)
}
