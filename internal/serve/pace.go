package serve

import "context"

// Limiter bounds the rate of what is sent.
type Limiter interface {
	// WaitN waits until n bytes may go out, or ctx ends.
	WaitN(ctx context.Context, n int) error
	// Burst is how many bytes should be waited for at once, at most.
	Burst() int
}

// pace slows one response down; the zero value does not.
type pace struct {
	ctx context.Context // of the request: it ends with the client or the server
	by  Limiter
}

// limit slows down what is written from now on.
func (w *response) limit(ctx context.Context, by Limiter) {
	if by != nil && !w.head {
		w.pace = pace{ctx, by}
	}
}

// wait waits until some of n bytes may go out, and says how many.
func (p *pace) wait(n int) (int, error) {
	if p.by == nil || n == 0 {
		return n, nil
	}
	n = min(n, p.by.Burst())
	return n, p.by.WaitN(p.ctx, n)
}
