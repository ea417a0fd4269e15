package login

import (
	"context"

	"gatehouse/account"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Enter is every way in from where they meet, without the first factor's cost.
func (l *Logins) Enter(ctx context.Context, user account.User, client Client, method string) (o Outcome, err error) {
	err = l.db.Update(ctx, func(tx *store.Tx) error {
		o, err = l.enterTx(ctx, tx, user, client, way{method, viewer.AAL1})
		return err
	})
	return o, err
}

// Count is what ByPassword does about limits, without the hash.
func (l *Logins) Count(ctx context.Context, attempt Attempt, right bool) error {
	taken, err := l.throttle.password(ctx, attempt)
	if err != nil || !right {
		return err
	}
	return l.throttle.giveBack(ctx, taken)
}
