package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"distd/internal/store"
)

// Paths below the store's folder. The store empties the folder for temporary
// things when it is opened, so that nothing survives a crash there.
const (
	ownDir     = ".distd"
	workDir    = ownDir + "/tmp/publish"
	contentDir = workDir + "/content"
)

// workspace is the folder in which content is put together. It is locked, and
// empty but for the publish that has it.
type workspace struct {
	st   *store.Store
	lock *os.File
}

func openWorkspace(st *store.Store) (*workspace, error) {
	root := st.Root()
	if err := root.MkdirAll(workDir, 0o700); err != nil {
		return nil, fmt.Errorf("%s: %w", st.Dir(), err)
	}
	lock, err := root.Open(workDir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", st.Dir(), err)
	}
	w := &workspace{st: st, lock: lock}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%s: %w", st.Dir(), ErrBusy), lock.Close())
	}
	if err == nil {
		err = w.reset()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", st.Dir(), err), lock.Close())
	}
	return w, nil
}

// reset makes the content folder anew.
func (w *workspace) reset() error {
	root := w.st.Root()
	if err := removeAll(root, contentDir, deltaWork); err != nil {
		return err
	}
	if err := root.Mkdir(contentDir, 0o755); err != nil {
		return err
	}
	return root.Chmod(contentDir, 0o755) // whatever the umask is
}

// content opens the content folder.
func (w *workspace) content() (*os.Root, string, error) {
	root, err := w.st.Root().OpenRoot(contentDir)
	return root, filepath.Join(w.st.Dir(), contentDir), err
}

// moveTo makes the content folder that of a staged release.
func (w *workspace) moveTo(r *store.Release) error {
	rel, err := filepath.Rel(w.st.Dir(), r.ContentRoot())
	if err != nil {
		return err
	}
	root := w.st.Root()
	if err := root.Remove(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.Rename(contentDir, rel)
}

// close removes what is left and ends the lock. Closing alone would leave it to
// a program that is being started just now, which has the descriptor too until
// it runs.
func (w *workspace) close() error {
	return errors.Join(removeAll(w.st.Root(), contentDir, deltaWork), unix.Flock(int(w.lock.Fd()), unix.LOCK_UN), w.lock.Close())
}

// own returns the stat of the folder that the store keeps its things in.
func (w *workspace) own() (stat, error) {
	d, err := w.st.Root().Open(ownDir)
	if err != nil {
		return stat{}, err
	}
	defer func() { _ = d.Close() }()
	return fileStat(d)
}
