package page

import "fmt"

// Newest returns what a statement needs for w of a list that is sorted by the column key, then id,
// newest first: conditions that begin with AND, their values, and the end of the statement, which
// fetches one row more than the page has, as [Cut] wants it. key is ours, not the client's.
func (w Window) Newest(key string) (where string, args []any, end string) {
	for _, place := range []struct {
		cursor *Cursor
		sign   string
	}{{w.After, "<"}, {w.Before, ">"}} {
		if place.cursor != nil {
			where += fmt.Sprintf(" AND (%[1]s %[2]s ? OR (%[1]s = ? AND id %[2]s ?))", key, place.sign)
			args = append(args, place.cursor.Key, place.cursor.Key, place.cursor.ID)
		}
	}
	direction := "DESC"
	if w.Backward {
		direction = "ASC"
	}
	return where, args, fmt.Sprintf(" ORDER BY %s %s, id %s LIMIT %d", key, direction, direction, w.Size+1)
}
