-- +goose Up

-- queue: until when a word must come of a running job that no process holds: a worker outside goes on with it.
ALTER TABLE jobs ADD COLUMN outside_until INTEGER;
CREATE INDEX jobs_outside ON jobs (outside_until) WHERE state = 'RUNNING' AND process_id IS NULL AND outside_until IS NOT NULL;

-- queue: how many lines the worker outside has written in the attempt.
ALTER TABLE job_attempts ADD COLUMN outside_lines INTEGER NOT NULL DEFAULT 0;

-- session: which of its secrets an account signs its webhooks with; they are derived from the number. No row: number 0.
CREATE TABLE webhook_secrets (
    owner_id     TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    version      INTEGER NOT NULL,
    rotated_at   INTEGER NOT NULL,
    former_until INTEGER
);

-- +goose Down
DROP TABLE webhook_secrets;
ALTER TABLE job_attempts DROP COLUMN outside_lines;
DROP INDEX jobs_outside;
ALTER TABLE jobs DROP COLUMN outside_until;
