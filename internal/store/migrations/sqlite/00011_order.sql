-- +goose Up

-- queue: a job that a limit has refused is QUEUED with pushed_at 0, until a slot of its owner or its kind is free.
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (queue, priority, pushed_at) WHERE state = 'QUEUED' AND pushed_at > 0;
CREATE INDEX jobs_refused_of_owner ON jobs (owner_id, priority DESC, id) WHERE state = 'QUEUED' AND pushed_at = 0;
CREATE INDEX jobs_refused_of_kind ON jobs (kind, owner_id, priority DESC, id) WHERE state = 'QUEUED' AND pushed_at = 0;

-- queue: what counts against the quota of an owner.
CREATE INDEX jobs_open ON jobs (owner_id) WHERE finished_at IS NULL;
ALTER TABLE job_files ADD COLUMN owner_id TEXT NOT NULL DEFAULT '';
UPDATE job_files SET owner_id = (SELECT owner_id FROM jobs WHERE jobs.id = job_files.job_id);
CREATE INDEX job_files_by_owner ON job_files (owner_id, bytes);

-- queue: what a process has done in the last minute, by queue; JSON.
ALTER TABLE processes ADD COLUMN figures TEXT NOT NULL DEFAULT '{}';

-- +goose Down
ALTER TABLE processes DROP COLUMN figures;
DROP INDEX job_files_by_owner;
ALTER TABLE job_files DROP COLUMN owner_id;
DROP INDEX jobs_open;
DROP INDEX jobs_refused_of_kind;
DROP INDEX jobs_refused_of_owner;
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (queue, priority, pushed_at) WHERE state = 'QUEUED';
