-- +goose Up

-- queue: a step of a workflow is a job whose parent is the workflow's. It lives as long as its parent.
ALTER TABLE jobs ADD COLUMN parent_id TEXT COLLATE "C" REFERENCES jobs (id) ON DELETE CASCADE;
CREATE INDEX jobs_by_parent ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_open_steps ON jobs (parent_id) WHERE parent_id IS NOT NULL AND state IN ('SCHEDULED', 'QUEUED', 'RUNNING', 'RETRYING');
DROP INDEX jobs_by_expiry;
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL AND parent_id IS NULL;

-- queue: what became of the steps of a workflow; those without a row wait for others.
CREATE TABLE workflow_steps (
    workflow_id   TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name          TEXT COLLATE "C" NOT NULL,
    state         TEXT NOT NULL,
    job_id        TEXT COLLATE "C",
    error_code    TEXT,
    error_message TEXT,
    PRIMARY KEY (workflow_id, name)
);
CREATE INDEX workflow_steps_begun ON workflow_steps (job_id) WHERE state = 'BEGUN';

-- queue: a file that one step has made is the input of another.
ALTER TABLE job_files DROP CONSTRAINT job_files_blob_key_key;
CREATE INDEX job_files_by_key ON job_files (blob_key);

-- +goose Down
DROP INDEX job_files_by_key;
ALTER TABLE job_files ADD CONSTRAINT job_files_blob_key_key UNIQUE (blob_key);
DROP TABLE workflow_steps;
DROP INDEX jobs_by_expiry;
DROP INDEX jobs_open_steps;
DROP INDEX jobs_by_parent;
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
ALTER TABLE jobs DROP COLUMN parent_id;
