package jobs

import (
	"context"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/queue"
	"gatehouse/vault"
)

// ReencryptArgs says with which key values shall be sealed.
type ReencryptArgs struct {
	Key string `json:"key"` // its name; see vault.Vault.Current
}

// Reencrypt is the kind of the job that seals values at rest anew; its handler is made by [Kinds].
var Reencrypt = queue.Kind[ReencryptArgs, any]{
	Name:        "reencrypt",
	Description: "Seals all values at rest with the secret key in force, so that a former one can be forgotten.",
	MaxAttempts: 10,
	Deadline:    6 * time.Hour,
	Backoff:     queue.Exponential(2*time.Second, time.Minute),
}

// reencrypts seals in batches. An attempt that is cut short is begun again and passes over what is done.
func reencrypts(v *vault.Vault) queue.Definition {
	kind := Reencrypt
	kind.Handle = func(ctx context.Context, run *queue.Run, args ReencryptArgs) (any, error) {
		if args.Key != v.Current() {
			return nil, fault.New(fault.WrongState, "", "This worker runs with another secret key than the one that shall seal. Restart it with the same settings.")
		}
		changed, err := v.Reseal(ctx, func(done, total int64) { run.Report(done, total, "sealing") })
		run.Log("%d values were sealed anew.", changed)
		return nil, err
	}
	return kind.Define()
}
