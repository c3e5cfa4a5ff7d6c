// Package store keeps a node's releases on disk: the unfinished ones in
// staging, the verified ones, which of them is live, how far each channel has
// come, and which hooks are still to be run.
//
// Everything lies below one folder on one file system. A step is made durable
// before the next one relies on it, and what needs more than one step is
// written into a journal first, so that after a crash or a power cut at any
// point Open finishes or undoes it by itself:
//
//	stage     all files are written and synced in .distd/tmp, then renamed to staging/ID
//	commit    content is synced, files then folders; staging/ID is renamed to releases/ID
//	activate  journal; NAME is switched by one rename; one transaction records the
//	          live release, ends the journal and makes the hook due
//	remove    renamed into .distd/trash, then deleted
//
// A name of 64 hex digits in releases/ is therefore always a whole release.
//
// A live tree is a symlink NAME -> .distd/releases/ID/content/NAME; a live file
// is a hard link to the release's own file. Files keep the modes of the
// manifest, write permission included, because modes are part of a release:
// who edits a live file in place edits the release itself, which Verify finds.
//
// A Store is used from many goroutines, starts none that outlive a call, and
// must be closed.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// Names below the store's folder.
const (
	ownDir      = ".distd"
	lockFile    = ownDir + "/lock"
	stateFile   = ownDir + "/state.db"
	stagingDir  = ownDir + "/staging"
	releasesDir = ownDir + "/releases"
	channelsDir = ownDir + "/channels"
	changedDir  = ownDir + "/changed"
	keysDir     = ownDir + "/keys"
	tmpDir      = ownDir + "/tmp"
	trashDir    = ownDir + "/trash"
	repairDir   = ownDir + "/repair"
)

// options are what tests change.
type options struct {
	log *zap.Logger
	// step is called before every change of the disk and may refuse it.
	step func(op) error
	// workers is the number of files that are synced at a time.
	workers int
	// syncFSAt is the number of files and folders to sync from which on the whole
	// file system is synced instead.
	syncFSAt int
	// spareFiles is the number of files from which on a tree gets a spare.
	spareFiles int
	// noHardLinks is set where hard links shall not be tried.
	noHardLinks bool
}

// Store is a node's folder. See the package comment.
type Store struct {
	options
	dir  string // absolute
	root *os.Root
	fs   *disk
	lock *os.File
	db   *bolt.DB

	ids      keyed      // serialises what is done to one release's folder
	activity sync.Mutex // serialises what is done to live names; taken before ids

	mu       sync.RWMutex
	releases map[string]*Release // by ID; staged and complete ones
	changes  int                 // of releases
	// linked has the inodes of files in staged releases that are those of complete
	// ones, and as durable, by ID and place in the manifest; 0 for others.
	linked map[string][]uint64
	trees  map[string]*spareTree // by ID: staged releases that were made of a spare

	usageMu   sync.Mutex
	use       Use // as it was at
	usedAt    int // of changes
	usedSince time.Time
}

// Open opens the store in the folder dir, which is made when it is missing. It
// takes the folder's lock (ErrLocked when another process has it), and finishes
// or undoes what a crash has interrupted.
func Open(dir string, log *zap.Logger) (*Store, error) {
	return open(dir, options{log: log})
}

func open(dir string, o options) (*Store, error) {
	if o.log == nil {
		o.log = zap.NewNop()
	}
	if o.workers == 0 {
		o.workers = max(8, 2*runtime.GOMAXPROCS(0))
	}
	if o.syncFSAt == 0 {
		o.syncFSAt = syncFSAt
	}
	if o.spareFiles == 0 {
		o.spareFiles = spareFiles
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, fmt.Errorf("store: %w", explain("make folder", abs, err))
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("store: %w", explain("open folder", abs, err))
	}
	s := &Store{options: o, dir: abs, root: root, fs: &disk{root: root, dir: abs, step: o.step, owner: NoOwner},
		releases: map[string]*Release{}, linked: map[string][]uint64{}, trees: map[string]*spareTree{}}
	if err := s.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", abs, err), s.Close())
	}
	return s, nil
}

func (s *Store) start() error {
	if err := s.makeFolders(); err != nil {
		return err
	}
	var err error
	if s.lock, err = takeLock(s.root, s.dir, s.log); err != nil {
		return err
	}
	// What the last process renamed without having come to sync it is relied on
	// from here on.
	if err := s.syncReleases(); err != nil {
		return err
	}
	if err := s.clean(tmpDir); err != nil {
		return err
	}
	if err := s.clean(trashDir); err != nil {
		return err
	}
	if s.db, err = s.openState(); err != nil {
		return err
	}
	if err := s.loadOwner(); err != nil {
		return err
	}
	if err := s.loadReleases(); err != nil {
		return err
	}
	if err := s.sweepSpares(nil); err != nil {
		return err
	}
	if err := s.matchPointerFiles(); err != nil {
		return err
	}
	return s.settleAll()
}

// makeFolders makes the folders of the store that are missing. What a web
// server has to pass on its way to live content is open to all, the rest is not.
func (s *Store) makeFolders() error {
	made := false
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{ownDir, 0o755}, {releasesDir, 0o755}, {channelsDir, 0o755}, {changedDir, 0o755},
		{keysDir, 0o700}, {stagingDir, 0o700}, {tmpDir, 0o700}, {trashDir, 0o700}, {repairDir, 0o700},
	} {
		st, err := s.root.Stat(d.path)
		if err == nil && st.IsDir() {
			continue
		}
		if err == nil {
			return fmt.Errorf("%s is not a folder: move it away", filepath.Join(s.dir, d.path))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return explain("look at", filepath.Join(s.dir, d.path), err)
		}
		if err := s.fs.mkdir(d.path, d.mode); err != nil {
			return err
		}
		made = true
	}
	if !made {
		return nil
	}
	if err := s.fs.syncDir(ownDir); err != nil {
		return err
	}
	return s.fs.syncDir(".")
}

// syncReleases makes durable which releases there are, staged and complete.
func (s *Store) syncReleases() error {
	for _, d := range []string{releasesDir, stagingDir} {
		if err := s.fs.syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// clean deletes what is in a folder for temporary things. What cannot be
// deleted takes space, no more.
func (s *Store) clean(dir string) error {
	entries, err := readDir(s.root, dir)
	if err != nil {
		return explain("read folder", s.abs(dir), err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), sparePrefix) {
			continue
		}
		if err := s.fs.purge(dir + "/" + e.Name()); err != nil {
			s.log.Warn("cannot delete what is no longer needed", zap.Error(err))
		}
	}
	return nil
}

// Close gives the folder free for other processes.
func (s *Store) Close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, endLock(s.lock))
	}
	errs = append(errs, s.root.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// Dir returns the absolute path of the store's folder.
func (s *Store) Dir() string { return s.dir }

// Root returns the store's folder for reading and writing below it. It is valid
// until Close.
func (s *Store) Root() *os.Root { return s.root }

// abs returns the absolute path of a path below the store's folder.
func (s *Store) abs(path string) string { return filepath.Join(s.dir, filepath.FromSlash(path)) }

// keyed is a set of locks with names. The zero value is ready to use.
type keyed struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock takes the lock called key and returns what gives it back.
func (k *keyed) lock(key string) (unlock func()) {
	for {
		k.mu.Lock()
		other, busy := k.held[key]
		if !busy {
			break
		}
		k.mu.Unlock()
		<-other
	}
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = map[string]chan struct{}{}
	}
	mine := make(chan struct{})
	k.held[key] = mine
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.held, key)
		close(mine)
	}
}
