-- +goose Up

-- queue: what is to be done again and again. next_at is the next moment, NULL while there is none; held_at
-- the moment whose job waits for the end of the job before it, last_job_id.
CREATE TABLE schedules (
    id            TEXT COLLATE "C" PRIMARY KEY,
    owner_id      TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    kind          TEXT NOT NULL,
    arguments     TEXT NOT NULL,
    cron          TEXT NOT NULL,
    time_zone     TEXT NOT NULL,
    catch_up      TEXT NOT NULL,
    catch_up_most INTEGER NOT NULL,
    overlap       TEXT NOT NULL,
    paused        BOOLEAN NOT NULL,
    priority      INTEGER NOT NULL,
    max_attempts  INTEGER NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    next_at       BIGINT,
    held_at       BIGINT,
    last_at       BIGINT,
    last_outcome  TEXT,
    last_message  TEXT,
    last_job_id   TEXT COLLATE "C"
);
CREATE INDEX schedules_by_owner ON schedules (owner_id, created_at, id);
CREATE INDEX schedules_by_creation ON schedules (created_at, id);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_held ON schedules (last_job_id) WHERE held_at IS NOT NULL;

-- +goose Down
DROP TABLE schedules;
