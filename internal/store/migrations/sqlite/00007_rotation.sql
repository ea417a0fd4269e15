-- +goose Up

-- session: when a service account got the secret that it has; NULL: when it was made.
ALTER TABLE service_accounts ADD COLUMN rotated_at INTEGER;

-- +goose Down
ALTER TABLE service_accounts DROP COLUMN rotated_at;
