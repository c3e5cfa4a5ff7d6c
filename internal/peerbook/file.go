package peerbook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"distd/internal/names"

	"go.uber.org/zap"
)

// version of the file's form.
const version = 1

// maxFile is the size of the largest file that is read, in bytes: a full book of
// IPv6 addresses takes less.
const maxFile = 20 << 20

// document is the file.
type document struct {
	Version  int                `json:"version"`
	Channels map[string][]entry `json:"channels"`
}

type entry struct {
	Peer netip.AddrPort `json:"peer"`
	Seen int64          `json:"seen"` // Unix time in seconds
}

// encode writes the book as a file, the peers noted last first.
func (b *Book) encode() ([]byte, error) {
	doc := document{Version: version, Channels: map[string][]entry{}}
	for name, known := range b.channels {
		for _, p := range known.newest() {
			doc.Channels[name] = append(doc.Channels[name], entry{p, known[p].Unix()})
		}
	}
	return json.Marshal(doc)
}

// load reads the file into the empty book.
func (b *Book) load() error {
	data, err := readFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var bad *damage
	if err != nil && !errors.As(err, &bad) {
		return err
	}
	if err == nil {
		var read map[string]peers
		if read, err = decode(data, b.now()); err == nil {
			b.channels = read
			return nil
		}
	}
	aside := b.path + ".damaged"
	b.log.Warn("the book of peers cannot be used and is set aside; peers are known again when they are found",
		zap.String("file", b.path), zap.String("aside", aside), zap.Error(err))
	if err := os.Rename(b.path, aside); err != nil {
		return fmt.Errorf("set damaged file aside: %w", err)
	}
	return nil
}

// damage is what is wrong with a file that could be read.
type damage struct{ what string }

func (d *damage) Error() string { return d.what }

func damaged(format string, args ...any) error { return &damage{fmt.Sprintf(format, args...)} }

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // opening a pipe would block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, damaged("it is no regular file")
	}
	if info.Size() > maxFile {
		return nil, damaged("it has %d bytes, more than %d", info.Size(), maxFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// decode reads a file. A file that could not have been written by this version is
// refused whole; peers that are too old by now are left out. Times that lie ahead
// are taken for now: a clock was wrong.
func decode(data []byte, now time.Time) (map[string]peers, error) {
	var doc document
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, damaged("it is not such a file: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, damaged("more follows after its end")
	}
	if doc.Version != version {
		return nil, damaged("it has version %d, and this distd reads version %d", doc.Version, version)
	}
	if len(doc.Channels) > MaxChannels {
		return nil, damaged("it has %d channels, more than %d", len(doc.Channels), MaxChannels)
	}
	channels := map[string]peers{}
	for name, entries := range doc.Channels {
		if name != "" {
			if err := names.Channel(name); err != nil {
				return nil, damaged("%v", err)
			}
		}
		if len(entries) > MaxPeers {
			return nil, damaged("channel %q has %d peers, more than %d", name, len(entries), MaxPeers)
		}
		known := peers{}
		for _, e := range entries {
			if !usable(e.Peer) {
				return nil, damaged("channel %q: %q is no address of a peer", name, e.Peer)
			}
			p := netip.AddrPortFrom(e.Peer.Addr().Unmap(), e.Peer.Port())
			at := time.Unix(e.Seen, 0)
			if at.After(now) {
				at = now
			}
			if now.Sub(at) <= MaxAge {
				known[p] = at
			}
		}
		if len(known) > 0 {
			channels[name] = known
		}
	}
	return channels, nil
}
