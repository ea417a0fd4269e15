// Command chaos shows that no job is lost and none is done twice, whatever falls over:
//
//	go run ./test/chaos --jobs=10000 --workers=3
//
// It builds the server, unless GATEHOUSE_TEST_BINARY names one, starts a PostgreSQL, a Redis behind a proxy, two servers and some workers, all private
// and on free loopback ports, and starts jobs through GraphQL: CSVs at once and later, CSVs from an address
// that fails at first, slow ones, workflows of three steps, a schedule. Meanwhile one thing after the other
// falls over (mishaps.go), each at least once. At the end it waits until every job has ended, and prints what the
// database, and watchers that went away again and again, have seen.
//
// It ends with 1 when a job was lost, failed, or succeeded twice, or when a watcher missed an event. With the
// same --seed the same mishaps come in the same order; what they meet is up to the machine.
//
// It needs postgres, redis-server and Go, and about five minutes; --short takes one. go test runs the short form.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gatehouse/test/services"
)

// options is how much chaos there is to be.
type options struct {
	jobs     int // asked for; the steps of workflows come on top
	rate     int // jobs asked for in a second
	workers  int // processes
	watchers int
	seed     uint64
	rest     time.Duration // between two mishaps
	away     time.Duration // how long PostgreSQL is
	patience time.Duration // for the end of all jobs
}

// long and short are the two sizes.
func long() options {
	return options{jobs: 10_000, rate: 40, workers: 3, watchers: 8, rest: 8 * time.Second, away: 10 * time.Second, patience: 5 * time.Minute}
}

func short() options {
	return options{jobs: 300, rate: 8, workers: 3, watchers: 4, rest: time.Second, away: 4 * time.Second, patience: 2 * time.Minute}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := command(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// command reads the flags, runs, and prints the table.
func command(ctx context.Context, args []string) error {
	o, err := read(args)
	if err != nil {
		return err
	}
	var r *tally
	if err := services.Program(ctx, func(h services.Host) { r = run(h, o) }); err != nil {
		return err
	}
	r.print(os.Stdout)
	return r.verdict()
}

func read(args []string) (options, error) {
	size := long()
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	small := flags.Bool("short", false, "each mishap once, in about a minute")
	jobs := flags.Int("jobs", 0, "how many jobs to ask for (10000; 300 with --short)")
	rate := flags.Int("rate", 0, "how many of them in a second (40; 8 with --short)")
	workers := flags.Int("workers", 0, "how many worker processes, 2 at the least (3)")
	seed := flags.Uint64("seed", rand.Uint64(), "what decides on the order of things")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if *small {
		size = short()
	}
	for _, given := range []struct {
		value *int
		into  *int
	}{{jobs, &size.jobs}, {rate, &size.rate}, {workers, &size.workers}} {
		if *given.value != 0 {
			*given.into = *given.value
		}
	}
	size.seed = *seed
	if size.jobs < 1 || size.rate < 1 || size.workers < 2 || flags.NArg() > 0 {
		return options{}, errors.New("chaos needs --jobs and --rate of 1 and more, --workers of 2 and more, and no arguments")
	}
	return size, nil
}
