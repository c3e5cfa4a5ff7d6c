package pieces_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"distd/internal/layout"
	"distd/pkg/swarm/pieces"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	first, second := []byte("hello, "), []byte("world")
	l, err := layout.New(7, []layout.File{{Path: "greeting", Length: 12}})
	if err != nil {
		panic(err)
	}
	sums := [][32]byte{sha256.Sum256(first), sha256.Sum256(second)}
	config := pieces.Config{
		Dir:          filepath.Join(dir, "content"),
		Layout:       l,
		Verify:       func(i int, data []byte) bool { return sha256.Sum256(data) == sums[i] },
		ProgressFile: filepath.Join(dir, "progress"),
	}

	s, err := pieces.Open(config)
	if err != nil {
		panic(err)
	}
	defer func() { _ = s.Close() }()
	ctx := context.Background()
	if err := s.Recover(ctx, nil); err != nil {
		panic(err)
	}
	if err := s.WritePiece(1, second); err != nil {
		panic(err)
	}
	if err := s.Sync(ctx); err != nil {
		panic(err)
	}

	again, err := pieces.Open(config)
	if err != nil {
		panic(err)
	}
	defer func() { _ = again.Close() }()
	if err := again.Recover(ctx, nil); err != nil {
		panic(err)
	}
	buf := make([]byte, 3)
	err = again.ReadAt(buf, 1, 2)
	fmt.Println(again.Has(0), again.Has(1), string(buf), err)
	// Output: false true rld <nil>
}
