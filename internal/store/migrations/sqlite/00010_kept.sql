-- +goose Up

-- queue: what an attempt of a job has kept for the next: a note, and perhaps the file of job_files with the
-- role KEPT and the same name.
CREATE TABLE job_kept (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    note   TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE job_kept;
