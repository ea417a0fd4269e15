package account

import (
	"context"
	"fmt"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
)

// ExportData is the kind of job that makes a copy of a person's data.
const ExportData = "exportData"

// exports limits copies of one's data: three at once, then one each eight hours.
var exports = limit.Rule{Name: "export-data", Limit: 3, Per: 24 * time.Hour, Burst: 3}

// ExportArgs are the arguments of an ExportData job, which copies the data of its owner.
type ExportArgs struct{}

// RequestExport starts a job that copies all that the deployment knows of by into a file, and mails a
// link to it. Faults: UNAUTHENTICATED, RATE_LIMITED.
func (a *Accounts) RequestExport(ctx context.Context, by viewer.Viewer) (*queue.Job, error) {
	if err := by.InPerson(); err != nil {
		return nil, err
	}
	if err := a.count(ctx, []limit.Request{{Rule: exports, Subject: string(by.User), Cost: 1}}); err != nil {
		return nil, err
	}
	request, err := queue.Kind[ExportArgs, any]{Name: ExportData}.Request(by.User, ExportArgs{}, queue.JobOptions{})
	if err != nil {
		return nil, err
	}
	var job *queue.Job
	err = a.db.Update(ctx, func(tx *store.Tx) (err error) {
		if job, err = a.queue.EnqueueTx(ctx, tx, request); err != nil {
			return err
		}
		return a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.ExportAsked, By: by, Subject: by.User, Session: by.Session})
	})
	if err != nil {
		return nil, fmt.Errorf("export data: %w", err)
	}
	return job, nil
}

// AnnounceExport mails the owner of an export job the link to its file.
func (a *Accounts) AnnounceExport(ctx context.Context, job *queue.Job) error {
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		user, err := a.userTx(ctx, tx, job.Owner)
		if err != nil {
			return err
		}
		proof, err := a.issueTx(ctx, tx, user.ID, ToFetchExport, anySlot, ProofDetail{Email: user.Email, Job: string(job.ID)})
		if err != nil {
			return err
		}
		return a.PostTx(ctx, tx, notify.Message{
			Kind: notify.DataExportReady, Locale: user.Locale, To: user.Email, Name: user.Name, Link: proof.link, Minutes: proof.minutes,
		})
	})
	if err != nil {
		return fmt.Errorf("announce export: %w", err)
	}
	return nil
}

// Export returns the job whose file a mailed link leads to; the link is good as often as one likes until
// it expires. Faults: TOKEN_INVALID, TOKEN_EXPIRED, RATE_LIMITED.
func (a *Accounts) Export(ctx context.Context, token string, from session.Origin) (queue.ID, error) {
	p, err := a.Look(ctx, ToFetchExport, token, from)
	return queue.ID(p.Detail.Job), err
}

// Look returns the proof behind a link and leaves it good: for pages that say what a link would do.
// Faults: TOKEN_INVALID, TOKEN_EXPIRED, RATE_LIMITED.
func (a *Accounts) Look(ctx context.Context, purpose Purpose, token string, from session.Origin) (Proof, error) {
	if err := a.countTry(ctx, from); err != nil {
		return Proof{}, err
	}
	return a.findLink(ctx, a.db, purpose, token)
}
