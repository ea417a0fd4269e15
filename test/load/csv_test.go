//go:build linux

package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"testing"
	"time"
)

// measureCSV uploads a large generated CSV and waits until its job has read it.
func measureCSV(t *testing.T, b *bench) {
	size := of(b, int64(1)<<30, int64(100)<<20)
	house := b.gatehouse(t, anyCore, t.TempDir())
	ada := register(t, house.addr, 1)
	house.forgetPeak()
	began := time.Now()
	job := upload(t, house.addr, ada.Access, size)
	uploaded := time.Since(began)
	var got struct {
		Job struct {
			State  string
			Result struct{ Rows, BadRows, Bytes int64 }
		}
	}
	for got.Job.State != "SUCCEEDED" {
		time.Sleep(20 * time.Millisecond)
		ask(t, house.addr, ada.Access, `{job(id:"`+job+`"){state result{... on CsvSummary{rows badRows bytes}}}}`, &got)
		if got.Job.State == "FAILED" || time.Since(began) > 5*time.Minute {
			t.Fatalf("the job is %s after %v", got.Job.State, time.Since(began))
		}
	}
	took := time.Since(began)
	_, peak := house.resident(t)
	if got.Job.Result.Bytes != size || got.Job.Result.BadRows != 0 {
		t.Fatalf("got %+v for %d bytes of good rows", got.Job.Result, size)
	}
	b.tell(t, fmt.Sprintf("processCsv of %.1f GB by upload", float64(size)/1e9), fmt.Sprintf("%.1f s", took.Seconds()),
		fmt.Sprintf("%.1f s upload, %.1f s job (%.0f MB/s), %d rows, a clean copy written; peak RSS %.0f MiB",
			uploaded.Seconds(), (took-uploaded).Seconds(), float64(size)/1e6/(took-uploaded).Seconds(),
			got.Job.Result.Rows, float64(peak)/mebibyte))
}

// upload sends a CSV of size bytes by the GraphQL multipart request specification, made as it goes, and
// returns the id of its job.
func upload(t testing.TB, addr, token string, size int64) (job string) {
	t.Helper()
	var envelope bytes.Buffer
	form := multipart.NewWriter(&envelope)
	_ = form.WriteField("operations", `{"query":"mutation($file:Upload){processCsv(input:{file:$file}){job{id} userErrors{message}}}","variables":{"file":null}}`)
	_ = form.WriteField("map", `{"0":["variables.file"]}`)
	if _, err := form.CreateFormFile("0", "large.csv"); err != nil {
		t.Fatal(err)
	}
	head := bytes.Clone(envelope.Bytes())
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	rest := envelope.Bytes()[len(head):]
	body := io.MultiReader(bytes.NewReader(head), io.LimitReader(newRows(size), size), bytes.NewReader(rest))
	post, err := http.NewRequest(http.MethodPost, "http://"+addr+"/graphql", body)
	if err != nil {
		t.Fatal(err)
	}
	post.ContentLength = int64(len(head)) + size + int64(len(rest))
	post.Header.Set("Content-Type", form.FormDataContentType())
	post.Header.Set("Authorization", "Bearer "+token)
	post.Header.Set("GraphQL-Require-Preflight", "1")
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Data struct {
			ProcessCsv struct{ Job struct{ ID string } }
		}
	}
	if json.Unmarshal(text, &got) != nil || got.Data.ProcessCsv.Job.ID == "" {
		t.Fatalf("the upload was answered %s", text)
	}
	return got.Data.ProcessCsv.Job.ID
}

// rows is an endless CSV: a header, then rows of 64 bytes with a number of their own.
type rows struct {
	n    int64
	row  []byte
	left []byte
}

const rowBytes = 64

// newRows returns rows of which the first size bytes end with a whole row; size is a multiple of 64.
func newRows(size int64) *rows {
	if size%rowBytes != 0 {
		panic("the size is no multiple of a row")
	}
	return &rows{left: fmt.Appendf(nil, "%-*s\n", rowBytes-1, "id,name,amount,day,note")}
}

// Read implements io.Reader.
func (r *rows) Read(into []byte) (n int, err error) {
	for n < len(into) {
		if len(r.left) == 0 {
			r.n++
			r.row = fmt.Appendf(r.row[:0], "%d,person %d,%d.%02d,2026-%02d-%02d,", r.n, r.n%5000, r.n%9973, r.n%100, r.n%12+1, r.n%28+1)
			for len(r.row) < rowBytes-1 {
				r.row = append(r.row, 'x')
			}
			r.row = append(r.row, '\n')
			r.left = r.row
		}
		copied := copy(into[n:], r.left)
		r.left, n = r.left[copied:], n+copied
	}
	return n, nil
}
