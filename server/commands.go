package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/queue"
	"gatehouse/schema"
)

// migrateCommand brings the schema up to date and ends.
type migrateCommand struct{}

// Run implements the command.
func (migrateCommand) Run(env *environment) error {
	db, err := store.Open(env.ctx, env.settings.DatabaseURL, store.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Migrate(env.ctx); err != nil {
		return err
	}
	current, _, err := db.SchemaVersion(env.ctx)
	if err == nil {
		fmt.Fprintf(env.out, "The database's schema is version %d.\n", current)
	}
	return err
}

// tools builds the program without HTTP and workers for a command that does one thing.
func tools(env *environment, do func(a *app) error) error {
	s := env.settings
	s.LogLevel = "warn"
	a, err := newTools(env.ctx, s, env.log)
	if err != nil {
		return err
	}
	defer a.close()
	return a.withBus(env.ctx, func() error { return do(a) })
}

// withBus lets running servers hear of what fn does.
func (a *app) withBus(ctx context.Context, fn func() error) error {
	under, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	up := make(chan struct{}, 1)
	unsubscribe, err := a.bus.Subscribe(ctx, "tools", bus.Listener{Deliver: func([]byte) {}, Gap: func() { leave(up) }})
	if err != nil {
		stop()
		return err
	}
	go func() { ended <- a.bus.Run(under) }()
	defer func() {
		unsubscribe()
		stop()
		<-ended
	}()
	if a.redis != nil { // the gap ends once Redis has confirmed that we listen
		patience := time.NewTimer(busPatience)
		defer patience.Stop()
		select {
		case <-up:
		case <-patience.C: // what is done counts all the same; servers find it in the database
		}
	}
	return fn()
}

// busPatience is how long a command waits for Redis.
const busPatience = 3 * time.Second

type adminCommand struct {
	Create adminCreateCommand `cmd:"" help:"Make an administrator."`
}

// adminCreateCommand makes the first administrator: there is no default one.
type adminCreateCommand struct {
	Email        string `required:"" help:"The administrator's e-mail address."`
	Name         string `help:"What they want to be called."`
	PasswordFile string `help:"A file with the password; - or nothing reads it from standard input."`
	Promote      bool   `xor:"existing" help:"Make an existing account, whose address is confirmed, an administrator instead of refusing."`
	Reclaim      bool   `xor:"existing" help:"Take over an existing account whose address nobody has confirmed: it is emptied and gets the password."`
}

// Run implements the command.
func (c adminCreateCommand) Run(env *environment) error {
	return tools(env, func(a *app) error {
		password := ""
		if !c.Promote {
			var err error
			if password, err = readPassword(c.PasswordFile, env.out); err != nil {
				return err
			}
		}
		user, err := c.make(env.ctx, a.accounts, password)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.out, "%s is an administrator.\n", user.ID)
		return nil
	})
}

// make says a refusal in words for the command line.
func (c adminCreateCommand) make(ctx context.Context, accounts *account.Accounts, password string) (user account.User, err error) {
	if c.Reclaim {
		user, err = accounts.ReclaimAdmin(ctx, c.Email, password, c.Name)
	} else {
		user, err = accounts.CreateAdmin(ctx, c.Email, password, c.Name, c.Promote)
	}
	f, ok := fault.As(err)
	switch {
	case !ok:
		return user, err
	case f.Code == fault.EmailNotVerified:
		return user, errors.New(f.Message + " Have its owner confirm the address, or give --reclaim in place of --promote: the account is then emptied and gets a password of yours.")
	}
	return user, errors.New(f.Message)
}

// readPassword reads one line: from a file, or from standard input, without an echo on a terminal.
func readPassword(path string, out io.Writer) (string, error) {
	if path != "" && path != "-" {
		content, err := os.ReadFile(path)
		return strings.TrimRight(string(content), "\r\n"), err
	}
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		fmt.Fprint(out, "Password: ")
		typed, err := term.ReadPassword(in)
		fmt.Fprintln(out)
		return string(typed), err
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

type configCommand struct {
	Check configCheckCommand `cmd:"" help:"Show the settings in force, secrets masked, and refuse contradictions."`
}

type configCheckCommand struct{}

// Run implements the command. The settings have been checked before it runs.
func (configCheckCommand) Run(env *environment) error {
	for _, line := range env.settings.masked() {
		fmt.Fprintln(env.out, line)
	}
	return nil
}

type keysCommand struct {
	Rotate keysRotateCommand `cmd:"" help:"Sign with the next key from now on; tokens of the last one stay good until they expire."`
}

type keysRotateCommand struct {
	AtRest bool `help:"Seal with the secret key in force whatever a former one has sealed, and show how far it is."`
}

// Run implements the command.
func (c keysRotateCommand) Run(env *environment) error {
	if c.AtRest {
		return tools(env, func(a *app) error { return a.sealAnew(env) })
	}
	return tools(env, func(a *app) error {
		if err := a.keys.Rotate(env.ctx, viewer.System()); err != nil {
			return err
		}
		fmt.Fprintln(env.out, "The next key signs from now on. Running servers follow within half a minute.")
		return nil
	})
}

// How often the command looks at its job, and when it wonders whether anybody works.
const (
	lookEvery = 300 * time.Millisecond
	wonder    = 10 * time.Second
)

// sealAnew starts the job that seals values at rest anew and follows it to its end. The job goes on
// when the command is given up.
func (a *app) sealAnew(env *environment) error {
	request, err := jobs.Reencrypt.Request("", jobs.ReencryptArgs{Key: a.secrets.vault.Current()}, queue.JobOptions{Priority: queue.High})
	if err != nil {
		return err
	}
	var job *queue.Job
	err = a.db.Update(env.ctx, func(tx *store.Tx) (err error) { // the queue itself does not run in a command
		if job, err = a.queue.EnqueueTx(env.ctx, tx, request); err != nil {
			return err
		}
		return a.audit.RecordTx(env.ctx, tx, audit.Event{Action: audit.KeysReencrypted, By: viewer.System(), Details: map[string]string{"job": string(job.ID)}})
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(env.out, "Job %s seals everything at rest with the secret key in force.\n", job.ID)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for asked, said := time.Now(), ""; ; {
		if job, err = a.queue.Get(env.ctx, viewer.System(), job.ID); err != nil {
			return err
		}
		line := fmt.Sprintf("%s: %d of %d rows", strings.ToLower(string(job.State)), job.Progress.Done, job.Progress.Total)
		if job.State == queue.Queued && time.Since(asked) > wonder {
			line = "No server or worker has taken the job yet. It waits for one; this command may be given up."
		}
		if line != said {
			fmt.Fprintln(env.out, line)
			said = line
		}
		switch {
		case job.State == queue.Succeeded:
			return a.sealedAnew(env)
		case job.State.Final():
			why := "somebody has cancelled it"
			if job.Error != nil {
				why = job.Error.Message
			}
			return fmt.Errorf("job %s has ended as %s: %s", job.ID, job.State, why)
		}
		select {
		case <-tick.C:
		case <-env.ctx.Done():
			return env.ctx.Err()
		}
	}
}

// sealedAnew tells whether former keys may be forgotten.
func (a *app) sealedAnew(env *environment) error {
	left, err := a.secrets.vault.Stale(env.ctx)
	if err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%d values are still sealed with a former key: a server or worker runs with the former settings; restart it and run this again", left)
	}
	fmt.Fprintln(env.out, "Nothing is sealed with a former key any more. It may be taken out of secret-key-older.")
	return nil
}

type schemaCommand struct{}

// Run implements the command.
func (schemaCommand) Run(env *environment) error {
	_, err := io.WriteString(env.out, schema.SDL())
	return err
}

type versionCommand struct{}

// Run implements the command.
func (versionCommand) Run(env *environment) error {
	_, err := fmt.Fprintln(env.out, "gatehouse", version)
	return err
}

// newTools builds as much of the program as a command needs, also beside a running server.
func newTools(ctx context.Context, s Settings, log io.Writer) (*app, error) {
	s.beside = true
	s.Queues = nil
	return newApp(ctx, s, log, 0)
}

// leave puts a word into ch unless one lies there.
func leave(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
