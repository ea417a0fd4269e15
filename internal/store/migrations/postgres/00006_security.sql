-- +goose Up

-- session: since when a session waits for its holder to prove who they are.
ALTER TABLE sessions ADD COLUMN suspended_at BIGINT;

-- session: what a person has signed in with; mark is a SHA-256 of device id and user-agent family.
CREATE TABLE known_devices (
    user_id       TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    mark          BYTEA NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, mark)
);
CREATE INDEX known_devices_by_age ON known_devices (last_seen_at);

-- +goose Down
DROP TABLE known_devices;
ALTER TABLE sessions DROP COLUMN suspended_at;
