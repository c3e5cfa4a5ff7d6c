package node

import (
	"context"
	"testing"
)

// A release is wanted also by those who have gone away meanwhile.
func TestWantedAfterTheEnd(t *testing.T) {
	k := newKeeper(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range cap(k.wanted) {
		k.want(ctx, "id")
	}
	if n := len(k.wanted); n != cap(k.wanted) {
		t.Errorf("%d of %d are wanted", n, cap(k.wanted))
	}
	k.want(ctx, "id") // and does not wait where nobody takes it
}
