package queue

import (
	"strconv"
	"strings"

	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// scheduleColumns are what scanSchedule reads.
const scheduleColumns = `id, owner_id, name, kind, arguments, cron, time_zone, catch_up, catch_up_most, overlap, paused, priority,
	max_attempts, created_at, updated_at, next_at, held_at, last_at, last_outcome, last_message, last_job_id`

// released is true of a schedule that holds a job back for no reason any more.
const released = `held_at IS NOT NULL AND NOT ` + busy

// busy is true of a schedule whose last job has not ended.
const busy = `EXISTS (SELECT 1 FROM jobs WHERE jobs.id = last_job_id AND jobs.state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))`

var (
	selectNow     = store.SQL(`SELECT {now}`)
	lockPrincipal = store.SQL(`SELECT status FROM principals WHERE user_id = ?`).
			On(store.Postgres, `SELECT status FROM principals WHERE user_id = ? FOR NO KEY UPDATE`)
	countSchedules = store.SQL(`SELECT count(*) FROM schedules WHERE owner_id = ?`)
	insertSchedule = store.SQL(`INSERT INTO schedules (id, owner_id, name, kind, arguments, cron, time_zone, catch_up, catch_up_most,
			overlap, paused, priority, max_attempts, created_at, updated_at, next_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	selectSchedules = store.SQL(`SELECT ` + scheduleColumns + ` FROM schedules WHERE id IN (?*)`)
	lockSchedule    = store.SQL(`SELECT `+scheduleColumns+` FROM schedules WHERE id = ?`).
			On(store.Postgres, `SELECT `+scheduleColumns+` FROM schedules WHERE id = ? FOR UPDATE`)
	selectSchedulesOf = store.SQL(`SELECT ` + scheduleColumns + ` FROM schedules WHERE owner_id = ? ORDER BY id`)
	updateSchedule    = store.SQL(`UPDATE schedules SET name = ?, arguments = ?, cron = ?, time_zone = ?, catch_up = ?, catch_up_most = ?,
			overlap = ?, paused = ?, priority = ?, max_attempts = ?, updated_at = ?, next_at = ?, held_at = ?
		WHERE id = ?`)
	recordFiring = store.SQL(`UPDATE schedules SET next_at = ?, held_at = ?, last_at = ?, last_outcome = ?, last_message = ?, last_job_id = ?
		WHERE id = ?`)
	deleteSchedule    = store.SQL(`DELETE FROM schedules WHERE id = ?`)
	deleteSchedulesOf = store.SQL(`DELETE FROM schedules WHERE owner_id = ?`)
)

// oursOf is true of schedules that this process can fire: another may know more kinds, and have the data of
// zones that this one has left.
func oursOf(kinds, left []string) string {
	if len(kinds) == 0 {
		return "FALSE"
	}
	ours := "kind IN " + literals(kinds)
	if len(left) > 0 {
		ours += " AND time_zone NOT IN " + literals(left)
	}
	return ours
}

func literals(texts []string) string {
	quotes := make([]string, len(texts))
	for i, text := range texts {
		quotes[i] = quoted(text)
	}
	return "(" + strings.Join(quotes, ", ") + ")"
}

// quoted returns text as a literal; it is a name of ours or like [zoneName].
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// dueSchedules returns the statement for scanDue: it locks what is due.
func dueSchedules(ours string) *store.Query {
	text := `SELECT ` + scheduleColumns + `, {now}, status, roles, ` + busy + `
		FROM schedules JOIN principals ON user_id = owner_id
		WHERE (next_at <= {now} OR ` + released + `) AND ` + ours + `
		ORDER BY next_at, id LIMIT ` + strconv.Itoa(firedAtOnce)
	return store.SQL(text).On(store.Postgres, text+` FOR UPDATE OF schedules SKIP LOCKED`)
}

func scanSchedule(scan store.Scan) (*Schedule, error) { return readSchedule(scan) }

// readSchedule reads a row of scheduleColumns and more.
func readSchedule(scan store.Scan, more ...any) (*Schedule, error) {
	var (
		s    Schedule
		last ScheduleRun
	)
	err := scan(append([]any{
		(*string)(&s.ID), (*string)(&s.Owner), &s.Name, &s.Kind, (*[]byte)(&s.Arguments), &s.Cron, &s.TimeZone, (*string)(&s.CatchUp),
		store.Number(&s.CatchUpMost), (*string)(&s.Overlap), &s.Paused, store.Number(&s.Priority), store.Number(&s.MaxAttempts),
		store.Time(&s.CreatedAt), store.Time(&s.UpdatedAt), store.Time(&s.NextAt), store.Time(&s.HeldAt),
		store.Time(&last.Moment), store.Text(&last.Outcome), store.Text(&last.Message), store.Text(&s.LastJob),
	}, more...)...)
	if last.Outcome != "" {
		s.Last = &last
	}
	return &s, err
}

func scanDue(scan store.Scan) (d dueSchedule, err error) {
	var status, roles string
	d.Schedule, err = readSchedule(scan, store.Time(&d.now), &status, &roles, &d.busy)
	d.active = status == "ACTIVE"
	for name := range strings.FieldsSeq(roles) {
		d.roles = append(d.roles, viewer.Role(name))
	}
	return d, err
}

// schedulesOf returns the statements for one page and for the count, with their parameters.
func schedulesOf(f ScheduleFilter, w page.Window) (list *store.Query, listArgs []any, counted *store.Query, countArgs []any) {
	where, args := "1 = 1", []any{}
	if f.Owner != "" {
		where, args = where+" AND owner_id = ?", append(args, f.Owner)
	}
	if len(f.Kinds) > 0 {
		where, args = where+" AND kind IN (?"+strings.Repeat(", ?", len(f.Kinds)-1)+")", append(args, anys(f.Kinds)...)
	}
	if f.Paused != nil {
		where, args = where+" AND paused = ?", append(args, *f.Paused)
	}
	place, places, end := w.Newest("created_at")
	return store.Passing("SELECT " + scheduleColumns + " FROM schedules WHERE " + where + place + end), append(args[:len(args):len(args)], places...),
		store.Passing("SELECT count(*) FROM schedules WHERE " + where), args
}
