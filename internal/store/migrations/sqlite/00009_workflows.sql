-- +goose Up

-- queue: a step of a workflow is a job whose parent is the workflow's. It lives as long as its parent.
ALTER TABLE jobs ADD COLUMN parent_id TEXT REFERENCES jobs (id) ON DELETE CASCADE;
CREATE INDEX jobs_by_parent ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_open_steps ON jobs (parent_id) WHERE parent_id IS NOT NULL AND state IN ('SCHEDULED', 'QUEUED', 'RUNNING', 'RETRYING');
DROP INDEX jobs_by_expiry;
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL AND parent_id IS NULL;

-- queue: what became of the steps of a workflow; those without a row wait for others.
CREATE TABLE workflow_steps (
    workflow_id   TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    state         TEXT NOT NULL,
    job_id        TEXT,
    error_code    TEXT,
    error_message TEXT,
    PRIMARY KEY (workflow_id, name)
);
CREATE INDEX workflow_steps_begun ON workflow_steps (job_id) WHERE state = 'BEGUN';

-- queue: a file that one step has made is the input of another.
CREATE TABLE job_files_shared (
    id         TEXT PRIMARY KEY,
    job_id     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    blob_key   TEXT NOT NULL,
    name       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    sha256     BLOB NOT NULL,
    created_at INTEGER NOT NULL
);
INSERT INTO job_files_shared SELECT * FROM job_files;
DROP TABLE job_files;
ALTER TABLE job_files_shared RENAME TO job_files;
CREATE INDEX job_files_by_job ON job_files (job_id, role, id);
CREATE INDEX job_files_by_key ON job_files (blob_key);

-- +goose Down
CREATE TABLE job_files_single (
    id         TEXT PRIMARY KEY,
    job_id     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    blob_key   TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    sha256     BLOB NOT NULL,
    created_at INTEGER NOT NULL
);
INSERT INTO job_files_single SELECT * FROM job_files;
DROP TABLE job_files;
ALTER TABLE job_files_single RENAME TO job_files;
CREATE INDEX job_files_by_job ON job_files (job_id, role, id);
DROP TABLE workflow_steps;
DROP INDEX jobs_by_expiry;
DROP INDEX jobs_open_steps;
DROP INDEX jobs_by_parent;
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
ALTER TABLE jobs DROP COLUMN parent_id;
