package audit

import (
	"encoding/json"
	"fmt"

	"gatehouse/internal/store"
)

const columns = `id, at, action, outcome, actor, subject, session_id, network, request_id, details`

var (
	insertEvent = store.SQL(`INSERT INTO audit_events
		(id, at, action, outcome, actor, subject, session_id, network, request_id, details)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	selectByUser = store.SQL(`SELECT ` + columns + `
		FROM audit_events WHERE subject = ? ORDER BY id DESC LIMIT ?`)
)

func scanEntry(scan store.Scan) (e Entry, err error) {
	var details string
	err = scan(&e.ID, store.Time(&e.At), &e.Action, &e.Outcome, &e.Actor, store.Text(&e.Subject),
		store.Text(&e.Session), store.Text(&e.Network), store.Text(&e.RequestID), &details)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(details), &e.Details); err != nil {
		return e, fmt.Errorf("read details of event %s: %w", e.ID, err)
	}
	return e, nil
}
