package main

import (
	"context"
	"path/filepath"

	"gatehouse/internal/blob"
)

func (s *Settings) checkFiles(refuse func(string, ...any)) {
	if s.FilesURL == "" {
		return
	}
	var err error
	if s.bucket, err = blob.ParseS3(s.FilesURL); err != nil {
		refuse("files-url: %w", err)
	}
	if s.S3AccessKey == "" || s.S3SecretKey == "" {
		refuse("files-url needs s3-access-key and s3-secret-key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	}
	if s.production() && !s.bucket.TLS && !s.bucket.Loopback() {
		refuse("production needs an https endpoint in files-url: whoever is on the way would read every file")
	}
	s.bucket.AccessKey, s.bucket.SecretKey = s.S3AccessKey, s.S3SecretKey
}

// openFiles opens the store of uploads and artifacts. A bucket is tried by who will use it, so that a wrong key is
// known now.
func (a *app) openFiles(ctx context.Context) (err error) {
	s, folder := a.settings, filepath.Join(a.settings.Data, "files")
	if s.FilesURL == "" {
		a.files, err = blob.Open(folder)
		return err
	}
	if a.files, err = blob.OpenS3(folder, s.bucket); err != nil {
		return err
	}
	a.onClose(a.files.Close)
	if s.beside {
		return nil
	}
	return a.files.Check(ctx)
}
