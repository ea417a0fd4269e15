package resolvers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
)

func TestOnlyFaultsReachTheClient(t *testing.T) {
	var log bytes.Buffer
	p := Presenter{Logger: slog.New(slog.NewTextHandler(&log, nil)), RequestID: func(context.Context) string { return "req-1" }}
	secret := errors.New("dial tcp db-7.internal:5432: password authentication failed for hunter2")
	for _, c := range []struct {
		name   string
		err    error
		code   string
		logged bool
	}{
		{"a fault", fault.Missing("job"), "NOT_FOUND", false},
		{"a fault on its way up", fmt.Errorf("cancel job: %w", fault.SignIn()), "UNAUTHENTICATED", false},
		{"a fault with a cause", fault.Denied("No.").With(secret), "FORBIDDEN", true},
		{"a bad token", fault.SignIn().With(secret), "UNAUTHENTICATED", false},
		{"a plain error", fmt.Errorf("read job: %w", secret), "INTERNAL", true},
		{"a database that is away", fmt.Errorf("read job: %w", store.ErrClosed), "UNAVAILABLE", true},
		{"a NUL in a text", fmt.Errorf("read job: %w", &pgconn.PgError{Code: "22021"}), "BAD_USER_INPUT", false},
		{"a full disk", fmt.Errorf("store file: %w: %w", blob.ErrStorage, secret), "UNAVAILABLE", true},
		{"a caller who has left", fmt.Errorf("read: %w", context.Canceled), "UNAVAILABLE", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown := p.Present(t.Context(), c.err)
			if shown.Extensions["code"] != c.code || shown.Extensions["requestId"] != "req-1" {
				t.Errorf("extensions = %v, want code %s", shown.Extensions, c.code)
			}
			if strings.Contains(shown.Message, "hunter2") || strings.Contains(shown.Message, "internal:") {
				t.Errorf("the client is told %q", shown.Message)
			}
			if c.logged && log.Len() == 0 {
				t.Error("the operator is told nothing")
			}
			if !c.logged && log.Len() > 0 {
				t.Errorf("the operator is told %s", &log)
			}
			log.Reset()
		})
	}
}

func TestAPanicIsToldToTheOperatorOnly(t *testing.T) {
	var log bytes.Buffer
	p := Presenter{Logger: slog.New(slog.NewTextHandler(&log, nil)), RequestID: func(context.Context) string { return "" }}
	if err := p.Recover(t.Context(), "index 7 of hunter2"); !fault.Is(err, fault.Internal) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the client is told %v", err)
	}
	if !strings.Contains(log.String(), "index 7") || !strings.Contains(log.String(), "errors_test.go") {
		t.Errorf("the log says %s", log.String())
	}
}

func TestARetryIsAdvisedInWholeSeconds(t *testing.T) {
	p := Presenter{Logger: slog.New(slog.DiscardHandler), RequestID: func(context.Context) string { return "" }}
	shown := p.Present(t.Context(), fault.Slow(1200*time.Millisecond))
	if shown.Extensions["code"] != "RATE_LIMITED" || shown.Extensions["retryAfter"] != 2 {
		t.Errorf("extensions = %v", shown.Extensions)
	}
}

func TestAnErrorMadeAtTheEdgeKeepsItsCode(t *testing.T) {
	p := Presenter{Logger: slog.New(slog.DiscardHandler), RequestID: func(context.Context) string { return "r" }}
	made := &gqlerror.Error{Message: "Too deep.", Extensions: map[string]any{"code": "LIMIT_EXCEEDED", "max": 10}}
	shown := p.Present(t.Context(), made)
	if shown.Message != "Too deep." || shown.Extensions["code"] != "LIMIT_EXCEEDED" || shown.Extensions["max"] != 10 {
		t.Errorf("shown = %+v", shown)
	}
}

func TestHintsAreForDevelopers(t *testing.T) {
	f := &fault.Fault{Code: fault.Forbidden, Message: "No.", Hint: "Ask for the role."}
	for hints, want := range map[bool]any{true: "Ask for the role.", false: nil} {
		p := Presenter{Logger: slog.New(slog.DiscardHandler), RequestID: func(context.Context) string { return "" }, Hints: hints}
		if got := p.Present(t.Context(), f).Extensions["hint"]; got != want {
			t.Errorf("hint = %v, want %v", got, want)
		}
	}
}

func TestWhatAPersonCanMendIsData(t *testing.T) {
	refused, err := userErrors(fmt.Errorf("register: %w", fault.Conflict("email", "Taken.")))
	if err != nil || len(refused) != 1 || refused[0].Code != fault.Taken || refused[0].Field[0] != "email" {
		t.Errorf("userErrors = %v, %v", refused, err)
	}
	for _, e := range []error{fault.SignIn(), fault.Slow(time.Second), errors.New("broken")} {
		if refused, err := userErrors(e); err == nil || len(refused) != 0 || refused == nil {
			t.Errorf("userErrors(%v) = %v, %v", e, refused, err)
		}
	}
}
