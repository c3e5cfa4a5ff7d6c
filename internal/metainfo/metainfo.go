// Package metainfo makes torrents of files and folders as btmakemetafile did,
// describes torrents, and checks files against them.
//
// Publishing has a reader of its own (internal/publish): it also copies, and
// hashes whole files, which must be done in order. Here pieces alone count, so
// that they can be read and hashed in any order, by as many as help.
package metainfo

import (
	"errors"
	"fmt"
	"io"
	"os"

	"distd/pkg/torrentfile"
)

var (
	// ErrChanged says that a file was changed while it was read.
	ErrChanged = errors.New("it was changed while it was read; try again when nothing writes there")
	// ErrMalformed says that a file is no torrent that distd takes.
	ErrMalformed = errors.New("it is no good torrent")
	// ErrSource says that a file or folder is not fit for a torrent.
	ErrSource = errors.New("no torrent can be made of it")
	// ErrContent says that a path is something else than a torrent's content.
	ErrContent = errors.New("it is not the torrent's content")
	// ErrOptions says that a tracker, web seed or piece length is not one.
	ErrOptions = errors.New("cannot make such a torrent")
	// ErrOutput says that a torrent's folder is not there.
	ErrOutput = errors.New("the folder for the torrent is not there")
)

// Read reads a torrent to its end. name is for the error.
func Read(r io.Reader, name string) (*torrentfile.Torrent, error) {
	b, err := io.ReadAll(io.LimitReader(r, torrentfile.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	t, err := torrentfile.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrMalformed, err)
	}
	return t, nil
}

// Load reads the torrent in a file.
func Load(path string) (*torrentfile.Torrent, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return Read(f, path)
}
