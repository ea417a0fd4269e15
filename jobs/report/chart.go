package report

import "time"

const (
	chartHeight = 130
	axisSpace   = 40 // for the numbers of the axis, at its left
	gridLines   = 4
	dateSpace   = 62 // between two dates under the chart, at least
)

// chart draws a bar for each day, a layer for each series, with a legend that has their sums.
func (s *sheets) chart() {
	c := s.d.Chart
	if len(c.Days) == 0 {
		return
	}
	s.block(c.Title, chartHeight+2*lineHeight+16)
	s.legend(c)
	top := s.y + 14
	s.y = top + chartHeight
	step := stepOf(highest(c.Days))
	s.grid(step)
	left, width := margin+float64(axisSpace), s.inner()-axisSpace
	slot := width / float64(len(c.Days))
	scale := chartHeight / float64(step*gridLines)
	for i, day := range c.Days {
		s.bar(day, left+float64(i)*slot, min(slot*0.82, 26), slot, scale)
	}
	s.dates(c, left, slot)
	s.y += lineHeight + 2
}

// legend names the series.
func (s *sheets) legend(c Chart) {
	sums := make([]int64, len(c.Series))
	for _, day := range c.Days {
		for i, n := range day {
			sums[i] += n
		}
	}
	width := s.inner() / float64(len(layers))
	s.y += lineHeight
	for i, name := range c.Series {
		x := margin + float64(i)*width
		s.fill(layers[i])
		s.pdf.Rect(x, s.y-6.5, 7, 7, "F")
		text := name + ": " + s.d.Language.Number(sums[i])
		s.write(plain, smallSize+0.5, inkLevel, x+11, s.y, s.faces.fit(s.pdf, plain, smallSize+0.5, text, width-14))
	}
}

// grid draws the lines that a bar is read by, from s.y up, with their numbers.
func (s *sheets) grid(step int64) {
	for i := range int64(gridLines + 1) {
		y := s.y - float64(i)*chartHeight/gridLines
		s.pdf.SetDrawColor(lineLevel, lineLevel, lineLevel)
		s.pdf.SetLineWidth(0.4)
		s.pdf.Line(margin+axisSpace, y, margin+s.inner(), y)
		s.writeRight(plain, smallSize, quietLevel, margin+axisSpace-5, y+2.5, s.d.Language.Number(i*step))
	}
}

// bar draws the layers of a day onto the lowest line.
func (s *sheets) bar(day []int64, x, width, slot, scale float64) {
	y := s.y
	for i, n := range day {
		if n == 0 {
			continue
		}
		height := float64(n) * scale
		y -= height
		s.fill(layers[i])
		s.pdf.Rect(x+(slot-width)/2, y, width, height, "F")
	}
}

// dates writes days under the lowest line, as many as there is room for.
func (s *sheets) dates(c Chart, left, slot float64) {
	every := max(1, int(dateSpace/slot)+1)
	for i := 0; i < len(c.Days); i += every {
		text := s.d.Language.ShortDate(c.From.AddDate(0, 0, i))
		middle := left + (float64(i)+0.5)*slot
		wide := s.faces.wide(s.pdf, plain, smallSize, text)
		x := min(max(margin, middle-wide/2), margin+s.inner()-wide)
		s.write(plain, smallSize, quietLevel, x, s.y+11, text)
	}
}

func (s *sheets) fill(c colour) { s.pdf.SetFillColor(c[0], c[1], c[2]) }

// highest returns the sum of the day with the largest one.
func highest(days [][]int64) int64 {
	var most int64
	for _, day := range days {
		var sum int64
		for _, n := range day {
			sum += n
		}
		most = max(most, sum)
	}
	return most
}

// stepOf returns the smallest of 1, 2, 5, 10, 20, 50 … of which gridLines reach most.
func stepOf(most int64) int64 {
	step := int64(1)
	for i := 0; step*gridLines < most && step < 1e15; i++ {
		if i%3 == 1 {
			step = step / 2 * 5
		} else {
			step *= 2
		}
	}
	return step
}

// DaysOf returns the first day of a period, in UTC, and how many days it touches.
func DaysOf(from, to time.Time) (first time.Time, n int) {
	first = from.UTC().Truncate(24 * time.Hour)
	return first, int((to.Sub(first) + 24*time.Hour - 1) / (24 * time.Hour))
}
