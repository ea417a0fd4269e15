package csvprofile

// candidates are tried in this order; the first of equals wins.
const candidates = ",;\t|"

// detectDelimiter returns the candidate under which the largest share of the sample's rows has as many
// fields as its first row, at least two; among equals the one that gives more fields. Without any it is
// the comma: a file of one column. whole tells that the sample is the whole text.
func detectDelimiter(sample []byte, whole bool, o Options) byte {
	best, bestShare, bestFields := byte(','), 0.0, 1
	for _, candidate := range []byte(candidates) {
		fields, share := agreement(sample, whole, candidate, o)
		if fields < 2 {
			continue
		}
		if share > bestShare || share == bestShare && fields > bestFields {
			best, bestShare, bestFields = candidate, share, fields
		}
	}
	return best
}

// agreement returns the fields of the first row and the share of rows that have as many.
func agreement(sample []byte, whole bool, delimiter byte, o Options) (fields int, share float64) {
	scan := newScanner(nil, o)
	scan.buf, scan.end, scan.atEOF = sample, len(sample), true
	scan.setDelimiter(delimiter)
	agreeing, rows := 0, 0
	for {
		row, err := scan.next()
		if err != nil { // the end of the sample: there is no source that could fail
			break
		}
		if !whole && rows > 0 && scan.start == scan.end {
			break // the sample cuts this row
		}
		rows++
		switch {
		case row.reason != "":
			continue
		case fields == 0:
			fields = row.fields
		}
		if row.fields == fields {
			agreeing++
		}
	}
	return fields, float64(agreeing) / float64(max(rows, 1))
}
