// Command distd brings content to many servers: one binary that is master,
// seed or leaf, and the tools around them.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// gcPercent is how much the heap may grow before it is collected. What takes
// memory here are buffers, which cost the collector nothing to look at, so that
// most of the usual is saved for next to nothing. GOGC overrides it.
const gcPercent = 30

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
