-- +goose Up

-- session: since when a session waits for its holder to prove who they are.
ALTER TABLE sessions ADD COLUMN suspended_at INTEGER;

-- session: what a person has signed in with; mark is a SHA-256 of device id and user-agent family.
CREATE TABLE known_devices (
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    mark          BLOB NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, mark)
) WITHOUT ROWID;
CREATE INDEX known_devices_by_age ON known_devices (last_seen_at);

-- +goose Down
DROP TABLE known_devices;
ALTER TABLE sessions DROP COLUMN suspended_at;
