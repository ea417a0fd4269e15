// Command server is Gatehouse: a GraphQL API with accounts, sign-in, background jobs and caching
// behind one endpoint.
//
//	go run ./server                # serves at http://127.0.0.1:8080 with SQLite, nothing else needed
//	go run ./server worker         # runs jobs only, for a deployment with Redis
//	go run ./server config check   # shows the settings in force, secrets masked
//
// Every setting is a flag and an environment variable GATEHOUSE_…; see docs/operations.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker in releases.
var version = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the program at once
	}()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "gatehouse:", err)
		os.Exit(1)
	}
}

// commandLine is what can be asked of the program.
type commandLine struct {
	Settings

	Serve   serveCommand   `cmd:"" default:"withargs" help:"Serve the API (the default)."`
	Worker  workerCommand  `cmd:"" help:"Run jobs and nothing else; needs Redis."`
	Migrate migrateCommand `cmd:"" help:"Bring the database's schema to this version."`
	Admin   adminCommand   `cmd:"" help:"Manage administrators."`
	Config  configCommand  `cmd:"" help:"Look at the settings."`
	Keys    keysCommand    `cmd:"" help:"Manage the keys that sign access tokens."`
	Schema  schemaCommand  `cmd:"" help:"Print the GraphQL schema."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// environment is what a command runs in.
type environment struct {
	ctx      context.Context
	settings Settings
	out, log io.Writer
}

// run parses args and runs the command until it is done or ctx ends.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	tuneCollector()
	outside, err := readEnvironment(os.Environ(), ".env")
	if err != nil {
		return err
	}
	var cli commandLine
	var exited *int
	parser, err := kong.New(&cli,
		kong.Name("gatehouse"), kong.Description("A GraphQL API with accounts, sign-in, background jobs and caching."),
		kong.Resolvers(outside), kong.Writers(out, log), kong.Exit(func(code int) { exited = &code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if exited != nil { // help was asked for and given
		return nil
	}
	if err != nil {
		return err
	}
	cli.shortProviders = outside.takeProviders()
	if err := outside.unknown(parser.Model); err != nil {
		return err
	}
	settings, err := cli.Settings.complete(command.Command())
	if err != nil && !needsNothing(command.Command()) {
		return err
	}
	err = command.Run(&environment{ctx: ctx, settings: settings, out: out, log: log})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// needsNothing reports whether command only prints what is built in, whatever the settings.
func needsNothing(command string) bool { return command == "schema" || command == "version" }
