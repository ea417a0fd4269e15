-- +goose Up

-- account: second factors. What the factor is made of (key, number, credential) and its name are sealed.
CREATE TABLE factors (
    id              TEXT COLLATE "C" PRIMARY KEY,
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind            TEXT NOT NULL,
    sealed          BYTEA NOT NULL,
    name_sealed     BYTEA NOT NULL,
    lookup          BYTEA UNIQUE,
    counter         BIGINT NOT NULL DEFAULT 0,
    code_hash       BYTEA,
    code_tries      BIGINT NOT NULL DEFAULT 0,
    code_expires_at BIGINT,
    created_at      BIGINT NOT NULL,
    confirmed_at    BIGINT,
    last_used_at    BIGINT
);
CREATE INDEX factors_by_user ON factors (user_id, id);
CREATE INDEX factors_pending ON factors (created_at) WHERE confirmed_at IS NULL;

-- account: recovery codes that are left; only their salted hashes.
CREATE TABLE recovery_codes (
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- account: devices that need no second factor; only the SHA-256 of their tokens.
CREATE TABLE trusted_devices (
    id           TEXT COLLATE "C" PRIMARY KEY,
    user_id      TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash         BYTEA NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    agent        TEXT NOT NULL,
    network      TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX trusted_devices_by_user ON trusted_devices (user_id, id);
CREATE INDEX trusted_devices_by_expiry ON trusted_devices (expires_at);

-- account: halves of passkey ceremonies; user_id is null while nobody has said who they are.
CREATE TABLE passkey_ceremonies (
    hash       BYTEA PRIMARY KEY,
    user_id    TEXT COLLATE "C" REFERENCES users (id) ON DELETE CASCADE,
    sealed     BYTEA NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX passkey_ceremonies_by_expiry ON passkey_ceremonies (expires_at);

-- login: sign-ins that wait for a second factor, by the SHA-256 of their ids.
CREATE TABLE challenges (
    hash            BYTEA PRIMARY KEY,
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_version    BIGINT NOT NULL,
    purpose         TEXT NOT NULL,
    session_id      TEXT COLLATE "C" REFERENCES sessions (id) ON DELETE CASCADE,
    methods         TEXT NOT NULL,
    sealed          BYTEA NOT NULL,
    tries           BIGINT NOT NULL DEFAULT 0,
    code_method     TEXT,
    code_hash       BYTEA,
    codes_sent      BIGINT NOT NULL DEFAULT 0,
    expires_at      BIGINT NOT NULL,
    used_at         BIGINT
);
CREATE INDEX challenges_by_user ON challenges (user_id);
CREATE INDEX challenges_by_expiry ON challenges (expires_at);

-- +goose Down
DROP TABLE challenges;
DROP TABLE passkey_ceremonies;
DROP TABLE trusted_devices;
DROP TABLE recovery_codes;
DROP TABLE factors;
