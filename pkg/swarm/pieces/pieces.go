// Package pieces keeps the verified pieces of one release in files.
//
// It reads and writes with pread and pwrite through os.Root, without mmap, and
// holds a bounded number of files open. Which pieces are done is remembered in
// a record that is written only when their data is on the disk, so that after
// a crash or a power cut only what the record does not name is hashed again.
//
// A Store has no goroutines but those of Recover, which end before it returns.
// All methods may be called from any goroutine unless they say otherwise.
package pieces

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"distd/internal/layout"
	"distd/pkg/swarm/bitmap"

	"go.uber.org/zap"
)

// Errors that callers branch on.
var (
	// ErrNoSpace is a full disk or quota. Nothing is lost: the call may be made
	// again when there is room.
	ErrNoSpace = errors.New("no space left")
	// ErrMissing is a read of a piece that is not here.
	ErrMissing = errors.New("piece is not here")
	// ErrReadOnly is a write to a store that was opened read-only.
	ErrReadOnly = errors.New("store is read-only")
	// ErrClosed is any use after Close.
	ErrClosed = errors.New("store is closed")
)

// Config says what a Store keeps and where.
type Config struct {
	// Dir is the content root: the folder that the layout's paths are relative
	// to. It is made when missing, unless ReadOnly.
	Dir string
	// Layout is the arrangement of the release's bytes.
	Layout *layout.Layout
	// Identity names the release: the manifest's digest, or the infohash with
	// zeros behind it. A progress record of another identity counts for nothing.
	Identity [32]byte
	// Verify says whether data is the whole of a piece. Recover calls it from
	// several goroutines at once.
	Verify func(piece int, data []byte) bool
	// ProgressFile is where the record of finished pieces is kept; "" keeps none.
	ProgressFile string
	// ReadOnly is for content in place: nothing below Dir is ever written,
	// created or cut, and a recorded piece counts only while its files have not
	// changed since (size, times, inode).
	ReadOnly bool
	// Complete takes every piece as present without hashing: for a release that
	// was verified and put away for good. It implies ReadOnly.
	Complete bool
	// Shared says that files below Dir may have names in other releases, as after
	// Adopt: a file with several names is never written to, but replaced by a copy.
	Shared bool
	// MaxOpenFiles bounds the files held open; 0 means DefaultOpenFiles. Files
	// in use at one moment may exceed it.
	MaxOpenFiles int
	// Workers is the number of goroutines that hash in Recover; 0 means one for
	// each processor. Memory bounds their buffers in bytes; 0 means
	// DefaultMemory. One buffer of a piece is always allowed.
	Workers int
	Memory  int64
	// Log may be nil.
	Log *zap.Logger
}

// Defaults of Config.
const (
	DefaultOpenFiles = 64
	DefaultMemory    = 128 << 20
)

// Modes that files and folders have until the release's own are set.
const (
	fileMode = fs.FileMode(0o644)
	dirMode  = fs.FileMode(0o755)
)

// Store keeps the pieces of one release.
type Store struct {
	layout   *layout.Layout
	identity [32]byte // of release and layout together
	verify   func(int, []byte) bool
	progress string
	readOnly bool
	complete bool
	workers  int
	log      *zap.Logger
	files    *fileTable

	// The system's, but in tests of what happens when it fails.
	fsync, syncfs func(*os.File) error

	syncMu sync.Mutex // one Sync at a time

	mu      sync.Mutex
	have    *bitmap.Bitmap // verified and readable
	named   *bitmap.Bitmap // what a record on the disk may name; those also in have are durable
	pending *bitmap.Bitmap // what the Sync under way will record, or nil
	stale   bool           // the record on the disk may name less than named
	dirty   map[int]struct{}
	durable *bitmap.Bitmap // files that need no sync; nil: none
	stamps  []uint64       // of files, when ReadOnly and there is a record
}

// Open returns a Store that has no piece yet, or every one when Complete: call
// Recover before anything else. It opens no file.
func Open(c Config) (*Store, error) {
	if c.Layout == nil || c.Verify == nil && !c.Complete {
		return nil, errors.New("open pieces: layout or verify is missing")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open pieces in %s: %w", c.Dir, err)
	}
	s := &Store{
		layout: c.Layout, identity: identity(c.Identity, c.Layout), verify: c.Verify,
		progress: c.ProgressFile, readOnly: c.ReadOnly || c.Complete, complete: c.Complete,
		log:   c.Log,
		have:  bitmap.New(c.Layout.NumPieces()),
		named: bitmap.New(c.Layout.NumPieces()),
		dirty: map[int]struct{}{},
		fsync: (*os.File).Sync, syncfs: syncFS,
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.workers = workers(c)
	s.files = newFileTable(dir, c.Layout, s.readOnly, c.MaxOpenFiles)
	s.files.shared = c.Shared
	if err := s.openDir(dir); err != nil {
		return nil, err
	}
	if s.complete {
		s.have.SetAll()
	}
	return s, nil
}

// openDir makes the content root, or checks that it is there.
func (s *Store) openDir(dir string) error {
	if s.readOnly {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a folder", dir)
		}
		if err != nil {
			return fmt.Errorf("open pieces: %w", err)
		}
		return nil
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("open pieces: %w", explain(err))
	}
	return nil
}

// workers is how many pieces Recover may hold in memory at once.
func workers(c Config) int {
	n, mem := c.Workers, c.Memory
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if mem <= 0 {
		mem = DefaultMemory
	}
	return int(max(1, min(int64(n), mem/c.Layout.PieceLength, int64(max(1, c.Layout.NumPieces())))))
}

// identity binds a record to the release and to how its bytes lie in files.
func identity(id [32]byte, l *layout.Layout) [32]byte {
	h := sha256.New()
	h.Write(id[:])
	b := binary.BigEndian.AppendUint64(nil, uint64(l.PieceLength))
	for _, f := range l.Files {
		b = binary.BigEndian.AppendUint64(b, uint64(f.Length))
		b = binary.BigEndian.AppendUint32(b, uint32(len(f.Path)))
		b = append(b, f.Path...)
		h.Write(b)
		b = b[:0]
	}
	h.Write(b)
	return [32]byte(h.Sum(nil))
}

// Have returns a copy of the set of pieces that can be read.
func (s *Store) Have() *bitmap.Bitmap {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have.Clone()
}

// Has says whether piece i can be read.
func (s *Store) Has(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have.Has(i)
}

// Drop forgets piece i, for instance when a read of it failed or its bytes
// turned out to be others. It can be written again.
func (s *Store) Drop(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have.Clear(i)
	if s.pending != nil {
		s.pending.Clear(i)
	}
}

// Pin keeps the content root open until the function that it returns is called,
// so that files can be opened while the root is moved, before SetDir is called
// and whatever CloseIdle does.
func (s *Store) Pin() (unpin func(), err error) {
	if _, err := s.files.useRoot(); err != nil {
		return nil, fmt.Errorf("open content folder: %w", err)
	}
	return s.files.unuseRoot, nil
}

// SetDir tells the Store that the content root was moved, as when a release
// leaves staging.
func (s *Store) SetDir(dir string) { s.files.setDir(dir) }

// CloseIdle closes every file that is not in use. They are opened again when
// needed; a Store that nobody uses costs no open file then.
func (s *Store) CloseIdle() { s.files.closeIdle() }

// Reopen has files opened anew from here on, as they may have been replaced by
// others. What is being read goes on with the old ones.
func (s *Store) Reopen() { s.files.reopen() }

// Close closes the files, those in use when they are released. What was
// written since the last Sync is not recorded.
func (s *Store) Close() error { return s.files.close() }
