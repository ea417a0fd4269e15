-- +goose Up

-- account: who a person is at a provider. The subject is found by a keyed hash of issuer and subject; profile, which
-- holds the subject, and tokens are sealed.
CREATE TABLE identities (
    id               TEXT COLLATE "C" PRIMARY KEY,
    user_id          TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider         TEXT NOT NULL,
    issuer           TEXT NOT NULL,
    subject_index    BYTEA NOT NULL UNIQUE,
    profile_sealed   BYTEA NOT NULL,
    tokens_sealed    BYTEA,
    claimed_until    BIGINT,
    linked_at        BIGINT NOT NULL,
    used_at          BIGINT NOT NULL,
    profile_at       BIGINT NOT NULL
);
CREATE INDEX identities_by_user ON identities (user_id, id);

-- login: sign-ins that are at the provider. A row is good once.
CREATE TABLE oauth_flows (
    state_hash TEXT COLLATE "C" PRIMARY KEY,
    sealed     BYTEA NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauth_flows_by_expiry ON oauth_flows (expires_at);

-- login: sign-ins that have come back from the provider and wait for the page. A row is good once.
CREATE TABLE oauth_exchanges (
    code_hash  TEXT COLLATE "C" PRIMARY KEY,
    sealed     BYTEA NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauth_exchanges_by_expiry ON oauth_exchanges (expires_at);

-- +goose Down
DROP TABLE oauth_exchanges;
DROP TABLE oauth_flows;
DROP TABLE identities;
