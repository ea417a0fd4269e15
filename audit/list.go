package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Filter chooses events; what is zero does not matter.
type Filter struct {
	User    viewer.UserID // concerning this account, or done by it
	Action  string        // one action, or with a point at its end all that begin so
	Outcome Outcome
	From    time.Time // at or after it
	To      time.Time // before it
}

// maxAction bounds what is taken for an action, in bytes.
const maxAction = 64

// List returns a page of the events that f chooses, newest first, for those who may read the audit.
// Faults: UNAUTHENTICATED, FORBIDDEN, BAD_USER_INPUT.
func (l *Log) List(ctx context.Context, by viewer.Viewer, f Filter, w page.Window) (page.Page[Entry], error) {
	none := page.Page[Entry]{}
	if err := by.Require(viewer.ReadAudit); err != nil {
		return none, err
	}
	if len(f.Action) > maxAction || strings.Trim(f.Action, "abcdefghijklmnopqrstuvwxyz.-") != "" { // nor a wildcard of LIKE
		return none, fault.New(fault.BadUserInput, "", "An action is small letters, hyphens and a point, e.g. login.refused.")
	}
	where, args := f.where()
	place, places, end := w.Newest("at")
	var (
		entries []Entry
		total   int
	)
	err := l.db.View(ctx, func(tx *store.Tx) (err error) {
		list := store.Passing(`SELECT ` + columns + ` FROM audit_events WHERE ` + where + place + end)
		if entries, err = store.All(ctx, tx, list, scanEntry, append(args, places...)...); err != nil {
			return err
		}
		total, err = store.One(ctx, tx, store.Passing(`SELECT count(*) FROM audit_events WHERE `+where), store.Value[int], args...)
		return err
	})
	if err != nil {
		return none, fmt.Errorf("list events: %w", err)
	}
	return page.Cut(w, entries, total), nil
}

func (f Filter) where() (string, []any) {
	where, args := "1 = 1", []any{}
	and := func(condition string, values ...any) {
		where += " AND " + condition
		args = append(args, values...)
	}
	if f.User != "" {
		and("(subject = ? OR actor = ?)", f.User, f.User)
	}
	if strings.HasSuffix(f.Action, ".") {
		and("action LIKE ?", f.Action+"%")
	} else if f.Action != "" {
		and("action = ?", f.Action)
	}
	if f.Outcome != "" {
		and("outcome = ?", f.Outcome)
	}
	if !f.From.IsZero() {
		and("at >= ?", store.At(f.From))
	}
	if !f.To.IsZero() {
		and("at < ?", store.At(f.To))
	}
	return where, args
}

// CursorOf returns the place of e in a list.
func CursorOf(e *Entry) page.Cursor { return page.Cursor{Key: e.At.UnixMicro(), ID: e.ID} }
