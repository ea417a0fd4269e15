package resolvers

import (
	"context"
	"errors"
	"strings"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/internal/fault"
	"gatehouse/internal/node"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// maxNodes is how many ids nodes takes.
const maxNodes = 100

func (r *queryResolver) Node(ctx context.Context, id string) (node.Node, error) {
	return r.find(ctx, id)
}

func (r *queryResolver) Nodes(ctx context.Context, ids []string) ([]node.Node, error) {
	if len(ids) > maxNodes {
		return nil, fault.New(fault.BadUserInput, "", "At most 100 ids can be asked for at once.")
	}
	found := make([]node.Node, len(ids))
	for i, id := range ids {
		n, err := r.find(ctx, id)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		if err == nil {
			found[i] = n
		}
	}
	return found, nil
}

func (r *queryResolver) Version(context.Context) (string, error) { return r.Resolver.Version, nil }

// find returns the object with id if the viewer may see it. The prefix tells the type.
func (r *Resolver) find(ctx context.Context, id string) (node.Node, error) {
	by := viewer.From(ctx)
	kind, _, _ := strings.Cut(id, "_")
	switch kind {
	case "job":
		j, err := r.Queue.Get(ctx, by, queue.ID(id))
		if err != nil {
			return nil, err
		}
		return j, nil
	case "usr":
		if !by.Owns(viewer.UserID(id), viewer.ReadUsers) {
			return nil, fault.Missing("object")
		}
		u, err := dataloaders.From(ctx).Users.Load(ctx, viewer.UserID(id))
		if errors.Is(err, dataloaders.ErrMissing) {
			return nil, fault.Missing("object")
		}
		return u, err
	case "evt":
		e, err := r.Audit.Get(ctx, by, id)
		if err != nil {
			return nil, err
		}
		return e, nil
	case "ses":
		found, err := r.Sessions.ByIDs(ctx, []viewer.SessionID{viewer.SessionID(id)})
		s, ok := found[viewer.SessionID(id)]
		if err == nil && (!ok || !by.Owns(s.User, viewer.ReadUsers)) {
			return nil, fault.Missing("object")
		}
		return s, err
	case "fac":
		f, err := r.Accounts.Factor(ctx, by, account.FactorID(id))
		if err != nil {
			return nil, missingObject(err)
		}
		return f, nil
	case "tdv":
		d, err := r.Accounts.TrustedDevice(ctx, by, account.TrustedDeviceID(id))
		if err != nil {
			return nil, missingObject(err)
		}
		return d, nil
	case "idn":
		identity, err := r.Accounts.Identity(ctx, by, account.IdentityID(id))
		if err != nil {
			return nil, err
		}
		return identity, nil
	case "key":
		return r.Sessions.APIKey(ctx, by, viewer.MachineID(id))
	case "svc":
		return r.Sessions.ServiceAccount(ctx, by, viewer.MachineID(id))
	}
	return nil, fault.Missing("object")
}

// missingObject gives every missing object the same words.
func missingObject(err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.Missing("object")
	}
	return err
}
