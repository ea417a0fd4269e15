package queue

import "gatehouse/internal/store"

// refusedJob is true of a queued job that a limit has refused.
const refusedJob = `state = 'QUEUED' AND pushed_at = 0`

var (
	refuseJobs = store.SQL(`UPDATE jobs SET pushed_at = 0 WHERE state = 'QUEUED' AND id IN (?*)`)
	freeJobs   = store.SQL(`UPDATE jobs SET pushed_at = {now} WHERE ` + refusedJob + ` AND id IN (?*) RETURNING ` + columns)

	freeOfOwner = free(`owner_id = ? ORDER BY priority DESC, id`)
	freeAfter   = free(`kind = ? AND owner_id > ? ORDER BY owner_id, priority DESC, id`)
	freeFirst   = free(`kind = ? ORDER BY owner_id, priority DESC, id`)

	// selectRefused chooses among more than it takes by chance, so that none is passed over for ever.
	selectRefused = store.SQL(`SELECT min(id) FROM jobs WHERE ` + refusedJob + ` GROUP BY owner_id, kind ORDER BY random() LIMIT 500`)
)

// free returns the statement that marks the first refused job of a choice as pushed.
func free(choice string) *store.Query {
	text := func(lock string) string {
		return `UPDATE jobs SET pushed_at = {now} WHERE ` + refusedJob + ` AND id IN (
			SELECT id FROM jobs WHERE ` + refusedJob + ` AND ` + choice + ` LIMIT 1` + lock + `) RETURNING ` + columns
	}
	return store.SQL(text("")).On(store.Postgres, text(" FOR UPDATE SKIP LOCKED"))
}
