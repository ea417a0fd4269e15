package login

import (
	"context"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// maxNewDeviceMails bounds how often in a day an account is told of a new device, so that nobody can
// fill a mailbox by signing in. What is not told by mail stands among the security events.
const maxNewDeviceMails = 10

// recognizeTx tells the owner when a sign-in comes from a device that they have not used for 90 days.
func (l *Logins) recognizeTx(ctx context.Context, tx *store.Tx, user account.User, client Client) error {
	seen, err := l.sessions.RecognizeTx(ctx, tx, user.ID, client.Device.ID, client.Origin)
	if err != nil || !seen.New {
		return err
	}
	name := session.Session{Agent: client.Agent}.AgentName()
	network := session.Network(client.IP)
	err = l.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.DeviceNew, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Network: network,
		Details: map[string]string{"agent": name},
	})
	if err != nil || seen.Recent > maxNewDeviceMails {
		return err
	}
	return l.accounts.TellTx(ctx, tx, user.ID, account.Notice{Kind: notify.NewDevice, Device: name, Network: network})
}
