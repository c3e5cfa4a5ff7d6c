package node

import (
	"context"
	"errors"
	"fmt"

	"distd/internal/config"
	"distd/internal/publish"
)

// PlanPublish says on a running master what a publish would change.
func (n *Node) PlanPublish(ctx context.Context, req PublishRequest, progress func(done, total int64)) (*publish.Changes, error) {
	if n.role != config.RoleMaster {
		return nil, &codedError{ExUsage, fmt.Errorf("this node is a %s: publish on the master", n.role)}
	}
	n.publishMu.Lock()
	defer n.publishMu.Unlock()
	o, err := PublishOptions(n.cfg.Load(), req)
	if err != nil {
		return nil, err
	}
	o.Progress, o.Log = progress, n.log.Named("publish")
	res, err := publish.Plan(ctx, n.store, o)
	return res, coded(ExDataErr, err)
}

// PlanPublishAlone is PlanPublish in a master's folder on which no master runs.
func PlanPublishAlone(ctx context.Context, dir string, req PublishRequest, progress func(done, total int64)) (res *publish.Changes, err error) {
	o, err := PublishOptions(nil, req)
	if err != nil {
		return nil, err
	}
	o.Progress = progress
	st, err := OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	res, err = publish.Plan(ctx, st, o)
	return res, coded(ExDataErr, err)
}
