package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/hook"
	"distd/internal/manifest"
	"distd/internal/store"
)

// activate makes the job's release live, if it still is the channel's newest,
// runs the hook that is due, and drops what is older than the operator keeps.
func (j *job) activate(ctx context.Context) error {
	n := j.node
	lock := n.releases.lock(j.m.Channel)
	lock.Lock()
	defer lock.Unlock()
	j.setState(stateActivating)
	if err := j.earlierHooks(ctx); err != nil {
		return err
	}
	changed, err := j.makeLive(ctx)
	if err != nil {
		return err
	}
	// A hook that is due runs even when a newer release is on its way: what
	// became live is told of, each once and in order.
	if err := j.hook(ctx); err != nil {
		return err
	}
	// At a start a thousand releases may come by here that were live before: one
	// look at what is old is enough for all of them.
	if changed || !j.kept {
		n.prune(ctx)
		n.wantSpares()
	}
	return nil
}

// earlierHooks runs the hooks of the channel that are due already: those that a
// crash has interrupted while this release was complete. Their own jobs may come
// later than this one, when the releases are no longer live.
func (j *job) earlierHooks(ctx context.Context) error {
	for _, due := range j.node.store.PendingHooks() {
		rel, err := j.node.store.Release(due.ID)
		if err != nil || rel.Manifest.Channel != j.m.Channel || due.ID == j.id {
			continue
		}
		if err := j.node.releases.of(rel).hook(ctx); err != nil {
			return err
		}
	}
	return nil
}

// makeLive activates the release, unless there is a newer one, or the operator
// or a failed hook has taken it out of use. It says whether it was not live yet.
func (j *job) makeLive(ctx context.Context) (changed bool, err error) {
	n := j.node
	if j.superseded() {
		return false, nil
	}
	if id, ok := n.store.Withdrawn(j.m.Channel); ok && id == j.id {
		return false, nil
	}
	var opts []store.ActivateOption
	if n.cfg.Load().Hook != "" {
		opts = append(opts, store.WithHook())
	}
	act, err := n.store.Activate(ctx, j.id, opts...)
	if err != nil {
		return false, err
	}
	if !act.Already {
		j.log.Info("release is live", zap.String("path", act.LivePath), zap.String("previous", act.Previous))
	}
	return !act.Already, nil
}

// superseded says that the channel has a newer release.
func (j *job) superseded() bool { return j.node.releases.newest(j.m.Channel) != j.id }

// hook runs the operator's program if it is due for this release, and again
// while it asks for that.
func (j *job) hook(ctx context.Context) error {
	n := j.node
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(5*time.Minute), backoff.WithMaxElapsedTime(0))
	for {
		due, ok := n.hookDue(j.id)
		if !ok {
			return nil
		}
		if !due.NotBefore.IsZero() {
			if err := j.pause(ctx, due.NotBefore); err != nil {
				return err
			}
			if j.superseded() {
				return n.store.HookDone(j.id, "asked to be run again, but a newer release came")
			}
		}
		cfg := n.cfg.Load()
		if cfg.Hook == "" {
			return n.store.HookDone(j.id, "no hook is set any more")
		}
		attempt, err := n.store.HookStart(j.id)
		if err != nil {
			return err
		}
		res, err := hook.Run(ctx, j.hookJob(cfg, due, attempt))
		if err != nil && ctx.Err() != nil {
			return ctx.Err() // it runs again at the next start, with the next attempt number
		}
		n.counters.hookRuns.Add(1)
		switch {
		case err == nil && res.OK():
			j.log.Info("hook is done", zap.String("hook", cfg.Hook), zap.Int("attempt", attempt), zap.Duration("took", res.Duration))
			return n.store.HookDone(j.id, "done")
		case err == nil && res.Retry:
			wait := retry.NextBackOff()
			j.log.Warn("hook asks to be run again", zap.Int("attempt", attempt), zap.Duration("again_in", wait))
			if err := n.store.HookLater(j.id, res.String(), time.Now().Add(wait)); err != nil {
				return err
			}
		default:
			return j.hookFailed(ctx, res, err)
		}
	}
}

// pause waits until a time, or until a newer release has come: it must not
// wait for the hook of an older one.
func (j *job) pause(ctx context.Context, until time.Time) error {
	for !j.superseded() {
		wait := time.Until(until)
		if wait <= 0 {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(wait, time.Second)):
		}
	}
	return ctx.Err()
}

func (n *Node) hookDue(id string) (store.PendingHook, bool) {
	for _, p := range n.store.PendingHooks() {
		if p.ID == id {
			return p, true
		}
	}
	return store.PendingHook{}, false
}

// hookFailed marks the release and does what the operator wants then.
func (j *job) hookFailed(ctx context.Context, res hook.Result, err error) error {
	n := j.node
	n.counters.hookFailures.Add(1)
	policy := n.cfg.Load().OnHookFailure
	outcome := "failed: " + res.String()
	if err != nil {
		outcome = "failed: " + err.Error()
	}
	j.log.Error("hook failed", zap.String("outcome", outcome), zap.String("output", res.Output), zap.String("on_hook_failure", policy))
	j.problem.Store("hook " + outcome)
	if err := n.store.HookDone(j.id, outcome); err != nil {
		return err
	}
	if policy != "rollback" {
		return nil
	}
	act, err := n.store.Rollback(ctx, j.m.Channel)
	if err != nil {
		return fmt.Errorf("rollback after the failed hook: %w", err)
	}
	j.log.Warn("rolled back", zap.String("live", act.ID))
	return nil
}

// hookJob describes the run: aria2's three arguments, and the environment.
func (j *job) hookJob(cfg *config.Config, due store.PendingHook, attempt int) hook.Job {
	n := j.node
	live := filepath.Join(n.store.Dir(), j.m.Name)
	first := live
	files := 0
	for _, f := range j.m.Files {
		if f.Symlink != "" {
			continue
		}
		if files == 0 && j.m.Kind == manifest.KindTree {
			first = filepath.Join(live, filepath.FromSlash(f.Path))
		}
		files++
	}
	r := hook.Release{
		Channel: j.m.Channel, ID: j.id, Serial: j.m.Serial, InfoHash: j.m.InfoHash, Attempt: attempt,
		Dir: live, ChangedFile: due.ChangedFile,
	}
	if prev, err := n.store.Release(due.Previous); err == nil {
		r.PreviousDir = filepath.Join(prev.ContentRoot(), prev.Manifest.Name)
	}
	if rel, err := n.store.Release(j.id); err == nil {
		r.ManifestFile = filepath.Join(rel.Dir, "manifest.json")
	}
	return hook.Job{
		Command: cfg.Hook, GID: hook.GID(j.id), NumFiles: files, FirstPath: first, Timeout: cfg.HookTimeout,
		Dir: n.store.Dir(), Log: j.log.Named("hook"), Env: r.Env(),
	}
}
