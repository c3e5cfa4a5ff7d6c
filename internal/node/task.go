package node

import "context"

// task is a function that runs until it is stopped.
type task struct {
	cancel context.CancelFunc
	ended  chan error
}

func start(ctx context.Context, f func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		defer cancel()
		t.ended <- f(ctx)
	}()
	return t
}

// done yields the error of a task that ended by itself.
func (t *task) done() <-chan error {
	if t == nil {
		return nil
	}
	return t.ended
}

// stop ends the task and returns its error, but for that of being stopped. A nil
// task has ended.
func (t *task) stop() error {
	if t == nil {
		return nil
	}
	t.cancel()
	return ignoreCancel(<-t.ended)
}
