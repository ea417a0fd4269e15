-- +goose Up

-- account: single-use proofs that were mailed. Of the secrets there are hashes: SHA-256 of a link, a keyed hash of a
-- code. The newest of a purpose replaces the older one; slot keeps those apart that must outlive a newer one.
CREATE TABLE proofs (
    id         TEXT COLLATE "C" PRIMARY KEY,
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose    TEXT NOT NULL,
    slot       BYTEA NOT NULL,
    link_hash  BYTEA NOT NULL UNIQUE,
    code_hash  BYTEA,
    tries      INTEGER NOT NULL DEFAULT 0,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);
CREATE UNIQUE INDEX proofs_newest ON proofs (user_id, purpose, slot);
CREATE INDEX proofs_by_slot ON proofs (purpose, slot);
CREATE INDEX proofs_by_expiry ON proofs (expires_at);

-- account: a password that must be replaced before it opens again, and when the account is deleted.
ALTER TABLE users ADD COLUMN must_reset BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE users ADD COLUMN deletes_at BIGINT;
CREATE INDEX users_by_deletion ON users (deletes_at) WHERE deletes_at IS NOT NULL;

-- +goose Down
DROP INDEX users_by_deletion;
ALTER TABLE users DROP COLUMN deletes_at;
ALTER TABLE users DROP COLUMN must_reset;
DROP TABLE proofs;
