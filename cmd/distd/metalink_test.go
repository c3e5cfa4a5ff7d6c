package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"distd/pkg/metalink"
)

// Nobody may type anything: the wait for it ends with the program.
func TestReadTextEnds(t *testing.T) {
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = w.Write([]byte("de % http://m")) // it is read, and no end comes
		cancel()
	}()
	if _, err := readText(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	broken := errors.New("bad file descriptor")
	if _, err := readText(t.Context(), iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	endless := io.MultiReader(strings.NewReader("a"), zeros{})
	if text, err := readText(t.Context(), endless); err != nil || len(text) != metalink.MaxSize {
		t.Errorf("%d bytes of an endless text, %v", len(text), err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
