-- +goose Up

-- queue: a job that a limit has refused is QUEUED with pushed_at 0, until a slot of its owner or its kind is free.
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (queue, priority, pushed_at) WHERE state = 'QUEUED' AND pushed_at > 0;
CREATE INDEX jobs_held_of_owner ON jobs (owner_id, priority DESC, id) WHERE state = 'QUEUED' AND pushed_at = 0;
CREATE INDEX jobs_held_of_kind ON jobs (kind, owner_id, priority DESC, id) WHERE state = 'QUEUED' AND pushed_at = 0;

-- +goose Down
DROP INDEX jobs_held_of_kind;
DROP INDEX jobs_held_of_owner;
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (queue, priority, pushed_at) WHERE state = 'QUEUED';
