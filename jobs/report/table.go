package report

const (
	rowHeight = 15
	cellSpace = 4 // beside a text
)

// table writes a table; each page that it goes on to repeats its header.
func (s *sheets) table(t Table) {
	if len(t.Rows) == 0 {
		s.block(t.Title, rowHeight)
		s.y += lineHeight
		s.write(plain, textSize, quietLevel, margin, s.y, s.d.Language.Say("nothing"))
		return
	}
	s.block(t.Title, 3*rowHeight)
	edges := s.edges(t.Columns)
	s.header(t.Columns, edges)
	for i, row := range t.Rows {
		height := float64(rowHeight)
		if i == len(t.Rows)-1 && t.Total != nil {
			height *= 2 // the total does not stand alone
		}
		if s.room(height) {
			s.header(t.Columns, edges)
		}
		s.row(t.Columns, edges, row, plain, i%2 == 1)
	}
	if t.More > 0 {
		if s.room(2 * rowHeight) {
			s.header(t.Columns, edges)
		}
		s.write(plain, textSize, quietLevel, margin+cellSpace, s.y+rowHeight-4.5, s.d.Language.Say("more", s.d.Language.Number(int64(t.More))))
		s.y += rowHeight
	}
	if t.Total != nil {
		s.rule(s.y, quietLevel)
		s.row(t.Columns, edges, t.Total, bold, false)
	}
}

// edges returns where each column begins, and where the last one ends.
func (s *sheets) edges(columns []Column) []float64 {
	var all float64
	for _, c := range columns {
		all += c.Width
	}
	edges := []float64{margin}
	for i, c := range columns {
		edges = append(edges, edges[i]+c.Width/all*s.inner())
	}
	return edges
}

func (s *sheets) header(columns []Column, edges []float64) {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	s.row(columns, edges, names, bold, false)
	s.rule(s.y, quietLevel)
}

func (s *sheets) row(columns []Column, edges []float64, cells []string, style face, band bool) {
	if band {
		s.pdf.SetFillColor(bandLevel, bandLevel, bandLevel)
		s.pdf.Rect(margin, s.y, s.inner(), rowHeight, "F")
	}
	size := float64(textSize - 0.5)
	for i, c := range columns {
		left, right := edges[i]+cellSpace, edges[i+1]-cellSpace
		text := s.faces.fit(s.pdf, style, size, cells[i], right-left)
		if c.Number {
			s.writeRight(style, size, inkLevel, right, s.y+rowHeight-4.5, text)
		} else {
			s.write(style, size, inkLevel, left, s.y+rowHeight-4.5, text)
		}
	}
	s.y += rowHeight
}
