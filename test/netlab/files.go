package netlab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
)

// equalSizes are those of a number of files that are size bytes together.
func equalSizes(size int64, files int) []int64 {
	sizes := make([]int64, files)
	for i := range sizes {
		sizes[i] = size / int64(files)
	}
	return sizes
}

// RandomSizes are lengths of files, each of the range from least to most equally
// often. They are the same in every call.
func RandomSizes(files int, least, most int64) []int64 {
	r := mathrand.New(mathrand.NewPCG(uint64(least), uint64(most)))
	sizes := make([]int64, files)
	for i := range sizes {
		sizes[i] = least + r.Int64N(most-least+1)
	}
	return sizes
}

// makeFiles writes random files of these sizes into folders below path, or one
// as the file path.
func makeFiles(path string, sizes []int64) error {
	for i, n := range sizes {
		p := path
		if len(sizes) > 1 {
			p = filepath.Join(path, fmt.Sprintf("%02d", i%100), fmt.Sprint("f", i))
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := writeRandom(p, n); err != nil {
			return err
		}
	}
	return nil
}

func writeRandom(path string, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, n)
	return errors.Join(err, f.Close())
}
