package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// endedTopic carries the sessions that have ended: the reason, then their ids, each after a line break.
const endedTopic = "session.ended"

// noticePatience bounds how long a change waits for other servers to be told; the outbox tells them
// later if it was too short.
const noticePatience = 500 * time.Millisecond

// noticeTx makes every server forget the records of ids once tx is committed, at once and again from
// the outbox a second later. reason says why they have ended, "" that they have not.
func (s *Sessions) noticeTx(ctx context.Context, tx *store.Tx, ids []viewer.SessionID, reason Reason) error {
	if len(ids) == 0 {
		return nil
	}
	if err := execMany(ctx, tx, insertNotices, ids, store.At(s.now())); err != nil {
		return fmt.Errorf("write session notices: %w", err)
	}
	tx.AfterCommit(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noticePatience)
		defer cancel()
		if err := s.notify(ctx, ids, reason); err != nil {
			s.o.Logger.WarnContext(ctx, "session notices wait in the outbox", "error", err)
		}
	})
	return nil
}

// notify makes every server forget the records of ids and tells who watches them that they ended or,
// with no reason, to look whether they have.
func (s *Sessions) notify(ctx context.Context, ids []viewer.SessionID, reason Reason) error {
	forget := s.records.Invalidate(ctx, ids...)
	return errors.Join(forget, s.notices.Publish(ctx, endedTopic, encodeNotice(ids, reason)))
}

func encodeNotice(ids []viewer.SessionID, reason Reason) []byte {
	var b bytes.Buffer
	b.WriteString(string(reason))
	for _, id := range ids {
		b.WriteByte('\n')
		b.WriteString(string(id))
	}
	return b.Bytes()
}

// hearEnded is given each message of endedTopic.
func (s *Sessions) hearEnded(data []byte) {
	reason, ids, _ := strings.Cut(string(data), "\n")
	for id := range strings.SplitSeq(ids, "\n") {
		if reason == "" {
			s.watchers.recheckOne(viewer.SessionID(id))
			continue
		}
		s.watchers.end(viewer.SessionID(id), Reason(reason))
	}
}

// republish sends what stands in the outbox for a second or longer once more, and takes out what
// could be sent. What could not stays for the next time.
func (s *Sessions) republish(ctx context.Context) error {
	due := s.now().Add(-time.Second)
	type notice struct {
		id     viewer.SessionID
		reason Reason
	}
	notices, err := store.All(ctx, s.db, selectNotices, func(scan store.Scan) (n notice, err error) {
		err = scan(&n.id, store.Text(&n.reason))
		return n, err
	}, store.At(due))
	if err != nil {
		return fmt.Errorf("read session notices: %w", err)
	}
	byReason := make(map[Reason][]viewer.SessionID)
	for _, n := range notices {
		byReason[n.reason] = append(byReason[n.reason], n.id)
	}
	var sent []viewer.SessionID
	var failed error
	for reason, ids := range byReason {
		if err := s.notify(ctx, ids, reason); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		sent = append(sent, ids...)
	}
	if len(sent) == 0 {
		return failed
	}
	slices.Sort(sent) // every server locks the rows in one order
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		return execMany(ctx, tx, deleteNotices, sent, store.At(due))
	})
	return errors.Join(failed, err)
}
