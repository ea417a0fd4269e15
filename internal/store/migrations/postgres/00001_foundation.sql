-- +goose Up

-- account: who a person is. Address and name are sealed; the address is found by a keyed index of its canonical form.
CREATE TABLE users (
    id             TEXT COLLATE "C" PRIMARY KEY,
    email_sealed   BYTEA NOT NULL,
    email_index    BYTEA NOT NULL UNIQUE,
    email_verified BOOLEAN NOT NULL DEFAULT FALSE,
    name_sealed    BYTEA,
    locale         TEXT NOT NULL DEFAULT 'en',
    password_hash  TEXT,
    roles          TEXT NOT NULL DEFAULT '',
    status         TEXT NOT NULL DEFAULT 'ACTIVE',
    version        BIGINT NOT NULL DEFAULT 1,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);

-- What session may know of a user: the contract between the two packages.
CREATE VIEW principals AS
    SELECT id AS user_id, status, roles, version, email_verified FROM users;

-- session: where a person is signed in.
CREATE TABLE sessions (
    id             TEXT COLLATE "C" PRIMARY KEY,
    user_id        TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    version        BIGINT NOT NULL DEFAULT 1,
    mode           TEXT NOT NULL,
    level          INTEGER NOT NULL,
    methods        TEXT NOT NULL,
    auth_time      BIGINT NOT NULL,
    remember       BOOLEAN NOT NULL,
    device_id      TEXT,
    device_name    TEXT,
    agent          TEXT NOT NULL,
    network        TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    last_seen_at   BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    revoked_at     BIGINT,
    revoked_reason TEXT
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- session: one row a generation of a session's refresh token; only the SHA-256 of the token.
CREATE TABLE refresh_tokens (
    hash        BYTEA PRIMARY KEY,
    session_id  TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    generation  BIGINT NOT NULL,
    parent      BYTEA,
    created_at  BIGINT NOT NULL,
    used_at     BIGINT,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id, generation);

-- session: keys that sign access tokens; the private half is sealed.
CREATE TABLE signing_keys (
    id           TEXT PRIMARY KEY,
    algorithm    TEXT NOT NULL,
    sealed       BYTEA NOT NULL,
    state        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    activated_at BIGINT,
    retired_at   BIGINT
);

-- session: revocations that every server must hear of, until they were published.
CREATE TABLE session_outbox (
    id         TEXT COLLATE "C" PRIMARY KEY,
    subject    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- audit: what happened, append-only.
CREATE TABLE audit_events (
    id         TEXT COLLATE "C" PRIMARY KEY,
    at         BIGINT NOT NULL,
    action     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    actor      TEXT NOT NULL,
    subject    TEXT,
    session_id TEXT,
    network    TEXT,
    request_id TEXT,
    details    TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_events_by_subject ON audit_events (subject, id);

-- queue: the truth about every job.
CREATE TABLE jobs (
    id              TEXT COLLATE "C" PRIMARY KEY,
    owner_id        TEXT NOT NULL,
    kind            TEXT NOT NULL,
    queue           TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    state           TEXT NOT NULL,
    attempt         INTEGER NOT NULL DEFAULT 0,
    max_attempts    INTEGER NOT NULL,
    claim           BIGINT NOT NULL DEFAULT 0,
    process_id      TEXT,
    input           TEXT NOT NULL,
    idempotency_key TEXT,
    sequence        BIGINT NOT NULL DEFAULT 0,
    progress_done   BIGINT NOT NULL DEFAULT 0,
    progress_total  BIGINT NOT NULL DEFAULT 0,
    progress_stage  TEXT NOT NULL DEFAULT '',
    result          TEXT,
    error_code      TEXT,
    error_message   TEXT,
    cancel_asked_at BIGINT,
    created_at      BIGINT NOT NULL,
    run_at          BIGINT NOT NULL,
    pushed_at       BIGINT NOT NULL DEFAULT 0,
    started_at      BIGINT,
    finished_at     BIGINT,
    expires_at      BIGINT
);
CREATE UNIQUE INDEX jobs_once ON jobs (owner_id, kind, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner_id, created_at, id);
CREATE INDEX jobs_by_creation ON jobs (created_at, id);
CREATE INDEX jobs_due ON jobs (run_at) WHERE state IN ('SCHEDULED', 'RETRYING');
CREATE INDEX jobs_queued ON jobs (queue, priority, pushed_at) WHERE state = 'QUEUED';
CREATE INDEX jobs_running ON jobs (process_id) WHERE state = 'RUNNING';
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;

-- queue: what a watcher of a job is told, in order.
CREATE TABLE job_events (
    job_id   TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sequence BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    type     TEXT NOT NULL,
    state    TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    claim    BIGINT NOT NULL,
    done     BIGINT NOT NULL,
    total    BIGINT NOT NULL,
    stage    TEXT NOT NULL,
    message  TEXT NOT NULL,
    PRIMARY KEY (job_id, sequence)
);

-- queue: one row each time a worker took a job.
CREATE TABLE job_attempts (
    job_id        TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    claim         BIGINT NOT NULL,
    number        INTEGER NOT NULL,
    process_id    TEXT NOT NULL,
    started_at    BIGINT NOT NULL,
    finished_at   BIGINT,
    error_code    TEXT,
    error_message TEXT,
    stack         TEXT,
    PRIMARY KEY (job_id, claim)
);

-- queue: the files that a job reads and makes, by their key in the blob store.
CREATE TABLE job_files (
    id         TEXT COLLATE "C" PRIMARY KEY,
    job_id     TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    blob_key   TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    sha256     BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX job_files_by_job ON job_files (job_id, role, id);

-- queue: processes that run jobs, each alive while its lease lasts.
CREATE TABLE processes (
    id          TEXT COLLATE "C" PRIMARY KEY,
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    started_at  BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);

-- queue: what an operator has set for a queue or a kind.
CREATE TABLE queue_settings (
    queue  TEXT PRIMARY KEY,
    paused BOOLEAN NOT NULL
);
CREATE TABLE kind_settings (
    kind        TEXT PRIMARY KEY,
    paused      BOOLEAN NOT NULL DEFAULT FALSE,
    max_running INTEGER
);

-- +goose Down
DROP TABLE kind_settings;
DROP TABLE queue_settings;
DROP TABLE processes;
DROP TABLE job_files;
DROP TABLE job_attempts;
DROP TABLE job_events;
DROP TABLE jobs;
DROP TABLE audit_events;
DROP TABLE session_outbox;
DROP TABLE signing_keys;
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP VIEW principals;
DROP TABLE users;
