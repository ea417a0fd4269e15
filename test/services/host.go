package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Host is what a server is started for and ends with: a test, or a [Program].
type Host interface {
	Helper()
	Context() context.Context // ends just before what Cleanup was given is called
	TempDir() string
	Cleanup(func())
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Program runs do outside of tests, as go test runs a test: Fatalf and Skipf end do, and what they say is the
// error; what Cleanup was given is called at the end, the last first. Host is for the goroutine of do alone.
func Program(ctx context.Context, do func(Host)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &program{ctx: ctx}
	defer func() {
		cancel()
		for _, tidy := range slices.Backward(p.cleanups) {
			tidy()
		}
	}()
	defer func() {
		switch ended := recover().(type) {
		case nil:
		case given:
			err = ended
		default:
			panic(ended)
		}
	}()
	do(p)
	return nil
}

// program is a Host that is no test.
type program struct {
	ctx      context.Context
	cleanups []func()
}

// given is why a program was given up.
type given struct{ error }

func (p *program) Helper()                  {}
func (p *program) Context() context.Context { return p.ctx }
func (p *program) Cleanup(tidy func())      { p.cleanups = append(p.cleanups, tidy) }

func (p *program) Logf(format string, args ...any)   { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (p *program) Skipf(format string, args ...any)  { p.Fatalf(format, args...) }
func (p *program) Fatalf(format string, args ...any) { panic(given{fmt.Errorf(format, args...)}) }

// TempDir makes a folder that is removed at the end.
func (p *program) TempDir() string {
	folder, err := os.MkdirTemp("", "gatehouse-")
	if err != nil {
		panic(given{errors.New("make a folder: " + err.Error())})
	}
	p.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}
