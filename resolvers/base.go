package resolvers

import (
	"context"
	"strings"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/dataloaders"
	"gatehouse/internal/fault"
	"gatehouse/internal/node"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// maxNodes is how many ids nodes takes.
const maxNodes = 100

func (r *queryResolver) Node(ctx context.Context, id string) (node.Node, error) {
	found, err := r.find(ctx, []string{id})
	if err == nil && found[id] == nil {
		err = fault.Missing("object")
	}
	return found[id], err
}

func (r *queryResolver) Nodes(ctx context.Context, ids []string) ([]node.Node, error) {
	if len(ids) > maxNodes {
		return nil, fault.New(fault.BadUserInput, "", "At most 100 ids can be asked for at once.")
	}
	found, err := r.find(ctx, ids)
	if err != nil {
		return nil, err
	}
	nodes := make([]node.Node, len(ids))
	for i, id := range ids {
		nodes[i] = found[id]
	}
	return nodes, nil
}

func (r *queryResolver) Version(context.Context) (string, error) { return r.Resolver.Version, nil }

// find returns those of ids that the viewer may see, by id. The prefix tells the type, and each type costs
// one statement.
func (r *Resolver) find(ctx context.Context, ids []string) (map[string]node.Node, error) {
	byKind := map[string][]string{}
	for _, id := range ids {
		kind, _, _ := strings.Cut(id, "_")
		byKind[kind] = append(byKind[kind], id)
	}
	found := make(map[string]node.Node, len(ids))
	for kind, some := range byKind {
		read := r.reader(kind)
		if read == nil {
			continue
		}
		if err := read(ctx, some, found); err != nil {
			return nil, err
		}
	}
	meetNodes(ctx, found)
	return found, nil
}

// reader returns what reads objects of a kind, nil for no kind of ours.
func (r *Resolver) reader(kind string) func(ctx context.Context, ids []string, into map[string]node.Node) error {
	switch kind {
	case "job":
		return reading(r.Queue.ByIDs)
	case "sch":
		return reading(r.Queue.SchedulesByIDs)
	case "usr":
		return reading(r.Accounts.SeenByIDs)
	case "evt":
		return reading(r.Audit.ByIDs)
	case "ses":
		return reading(r.Sessions.ByIDs)
	case "fac":
		return reading(r.Accounts.FactorsByIDs)
	case "tdv":
		return reading(r.Accounts.TrustedDevicesByIDs)
	case "idn":
		return reading(r.Accounts.IdentitiesByIDs)
	case "key":
		return reading(r.Sessions.APIKeysByIDs)
	case "svc":
		return reading(r.Sessions.ServiceAccountsByIDs)
	}
	return nil
}

// reading makes objects of one type nodes.
func reading[K ~string, V node.Node](read func(context.Context, viewer.Viewer, []K) (map[K]V, error)) func(ctx context.Context, ids []string, into map[string]node.Node) error {
	return func(ctx context.Context, ids []string, into map[string]node.Node) error {
		keys := make([]K, len(ids))
		for i, id := range ids {
			keys[i] = K(id)
		}
		found, err := read(ctx, viewer.From(ctx), keys)
		for key, one := range found {
			into[string(key)] = one
		}
		return err
	}
}

// meetNodes names objects as company to those whose fields load.
func meetNodes(ctx context.Context, nodes map[string]node.Node) {
	loaders := dataloaders.From(ctx)
	for _, found := range nodes {
		switch one := found.(type) {
		case account.User:
			loaders.MeetUsers(one.ID)
		case audit.Entry:
			loaders.MeetSessions(one.Session)
		case *queue.Job:
			loaders.MeetJobs(one.ID)
			loaders.MeetWorkflows(one.Parent)
			loaders.MeetUsers(one.Owner)
		case *queue.Schedule:
			loaders.MeetSchedules(one)
		}
	}
}
