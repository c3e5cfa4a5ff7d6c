package store

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// parallel calls fn with 0 to n-1, several at a time, until one fails or ctx
// ends.
func parallel(ctx context.Context, workers, n int, fn func(ctx context.Context, i int) error) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range n {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return fn(inner, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// chunkSize is the number of files that one goroutine looks at in a row, with
// their folder open.
const chunkSize = 128

// inChunks calls fn with parts of 0 to n, several at a time, until one fails or
// ctx ends.
func inChunks(ctx context.Context, workers, n int, fn func(ctx context.Context, from, to int) error) error {
	return parallel(ctx, workers, (n+chunkSize-1)/chunkSize, func(ctx context.Context, i int) error {
		return fn(ctx, i*chunkSize, min(n, (i+1)*chunkSize))
	})
}
