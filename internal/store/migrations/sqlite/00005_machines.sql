-- +goose Up

-- session: API keys, which act for their owner within their scopes; only the SHA-256 of a key. Revoked ones are kept a while.
CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    owner_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL,
    scopes       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER
);
CREATE INDEX api_keys_by_owner ON api_keys (owner_id, id);

-- session: service accounts, which get access tokens for their secret; former_hash is the last secret, good until former_until.
CREATE TABLE service_accounts (
    id           TEXT PRIMARY KEY,
    owner_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    version      INTEGER NOT NULL DEFAULT 1,
    hash         BLOB NOT NULL,
    former_hash  BLOB,
    former_until INTEGER,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
);
CREATE INDEX service_accounts_by_owner ON service_accounts (owner_id, id);

-- session: who acts as the person, when an administrator does.
ALTER TABLE sessions ADD COLUMN actor_id TEXT;
ALTER TABLE sessions ADD COLUMN read_only BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX sessions_by_actor ON sessions (actor_id) WHERE actor_id IS NOT NULL;

-- account, audit: the lists of administrators.
CREATE INDEX users_by_creation ON users (created_at, id);
CREATE INDEX audit_events_by_time ON audit_events (at, id);
CREATE INDEX audit_events_by_action ON audit_events (action, at, id);
CREATE INDEX audit_events_by_actor ON audit_events (actor, at, id);

-- vault: keys of the deployment that outlive its secret key, sealed.
CREATE TABLE deployment_keys (
    name       TEXT PRIMARY KEY,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL
);

-- +goose Down
DROP TABLE deployment_keys;
DROP INDEX audit_events_by_actor;
DROP INDEX audit_events_by_action;
DROP INDEX audit_events_by_time;
DROP INDEX users_by_creation;
DROP INDEX sessions_by_actor;
ALTER TABLE sessions DROP COLUMN read_only;
ALTER TABLE sessions DROP COLUMN actor_id;
DROP TABLE service_accounts;
DROP TABLE api_keys;
