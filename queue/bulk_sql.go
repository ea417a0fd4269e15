package queue

import "gatehouse/internal/store"

var (
	cancelWaitingJobs = store.SQL(`UPDATE jobs SET state = 'CANCELLED', cancel_asked_at = {now}, finished_at = {now}, expires_at = {now} + ?,
			sequence = sequence + 1
		WHERE state IN ('SCHEDULED', 'QUEUED', 'RETRYING') AND id IN (?*) RETURNING ` + columns)
	askCancelJobs = store.SQL(`UPDATE jobs SET cancel_asked_at = {now}
		WHERE state = 'RUNNING' AND cancel_asked_at IS NULL AND id IN (?*) RETURNING ` + columns)

	// selectUsage knows open jobs by finished_at, which changes less often than state does, and so its index.
	selectUsage = store.SQL(`SELECT (SELECT count(*) FROM jobs WHERE owner_id = ? AND finished_at IS NULL),
		(SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM job_files WHERE owner_id = ?)`)
)
