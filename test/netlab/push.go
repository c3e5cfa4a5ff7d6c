package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"distd/internal/node"
)

// Pushed is what a push to nodes that had the release before has cost.
type Pushed struct {
	Changed    int64 // bytes of the files that are new or other
	Manifest   int64 // bytes
	Publishing time.Duration
	Nodes      []PushedNode
}

// PushedNode is one node of it.
type PushedNode struct {
	Name    string
	Seed    bool
	Fetched int64         // bytes of content, delta packs included
	Delta   int64         // of them in delta packs
	Reused  int64         // bytes of files that were there
	Hook    time.Duration // from the start of distd publish to the run of its hook
}

// Push changes what was published, by a function that returns the bytes that are
// new in it, publishes again, and waits until the hook of every node has run. It
// comes after Run.
func (z *Zones) Push(ctx context.Context, change func(source string) (int64, error)) (*Pushed, error) {
	runs := map[*Node]int{}
	nodes := z.nodes()[1:] // without the master
	if err := await(ctx, 20*time.Millisecond, "all hooks of the first release have run", func() (bool, error) {
		for _, n := range nodes {
			if runs[n] = n.HookRuns(); runs[n] == 0 {
				return false, z.err()
			}
		}
		return true, nil
	}); err != nil {
		return nil, err
	}
	p := &Pushed{}
	var err error
	if p.Changed, err = change(z.source); err != nil {
		return nil, err
	}
	z.Published = time.Now()
	if err := z.publish(ctx); err != nil {
		return nil, err
	}
	p.Publishing = z.Publishing
	err = await(ctx, 20*time.Millisecond, "all hooks have run again", func() (bool, error) {
		for _, n := range nodes {
			if n.HookRuns() == runs[n] {
				return false, z.err()
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		pn, id, err := z.pushed(ctx, n)
		if err != nil {
			return nil, err
		}
		pn.Seed = i < len(z.Zones)*z.spec.Seeds
		p.Nodes = append(p.Nodes, pn)
		if st, err := os.Stat(filepath.Join(n.Dir, ".distd", "releases", id, "manifest.json")); err == nil {
			p.Manifest = st.Size()
		}
	}
	return p, nil
}

func (z *Zones) pushed(ctx context.Context, n *Node) (PushedNode, string, error) {
	s, err := n.status(ctx)
	if err != nil {
		return PushedNode{}, "", err
	}
	var newest *node.ReleaseStatus
	for i := range s.Releases {
		if r := &s.Releases[i]; newest == nil || r.Serial > newest.Serial {
			newest = r
		}
	}
	if newest == nil {
		return PushedNode{}, "", errors.New(n.Name + " has no release")
	}
	b, err := os.ReadFile(n.end)
	if err != nil {
		return PushedNode{}, "", err
	}
	lines := strings.Fields(string(b))
	seconds, err := strconv.ParseFloat(lines[len(lines)-1], 64)
	if err != nil {
		return PushedNode{}, "", fmt.Errorf("hook of %s: %w", n.Name, err)
	}
	return PushedNode{Name: filepath.Base(n.Dir), Fetched: newest.FromPeers + newest.FromMirrors, Delta: newest.Delta, Reused: newest.Reused,
		Hook: time.UnixMicro(int64(seconds * 1e6)).Sub(z.Published)}, newest.ID, nil
}

// ChangeTree changes a few of many files, moves a folder, and removes files. It
// returns the bytes of the files that are other.
func ChangeTree(changed, removed int) func(source string) (int64, error) {
	return func(source string) (n int64, err error) {
		files, err := filepath.Glob(filepath.Join(source, "*", "*"))
		if err != nil || len(files) < 2*(changed+removed) {
			return 0, errors.Join(err, fmt.Errorf("%d files are too few to change %d and remove %d", len(files), changed, removed))
		}
		step := len(files) / (changed + removed)
		for i := range changed + removed {
			f := files[i*step]
			if i >= changed {
				if err := os.Remove(f); err != nil {
					return 0, err
				}
				continue
			}
			st, err := os.Stat(f)
			if err != nil {
				return 0, err
			}
			n += st.Size()
			if err := writeRandom(f, st.Size()); err != nil {
				return 0, err
			}
		}
		dir := filepath.Dir(files[len(files)-1])
		return n, os.Rename(dir, filepath.Join(source, "moved"))
	}
}

// ChangeFile inserts bytes into a single file, so many percent behind its front.
func ChangeFile(bytes int64, percent int) func(source string) (int64, error) {
	return func(source string) (int64, error) {
		old, err := os.ReadFile(source)
		if err != nil {
			return 0, err
		}
		if err := writeRandom(source, bytes); err != nil {
			return 0, err
		}
		fresh, err := os.ReadFile(source)
		if err != nil {
			return 0, err
		}
		at := len(old) * percent / 100
		f, err := os.Create(source)
		if err != nil {
			return 0, err
		}
		for _, part := range [][]byte{old[:at], fresh[:bytes], old[at:]} {
			_, werr := f.Write(part)
			err = errors.Join(err, werr)
		}
		return bytes, errors.Join(err, f.Close())
	}
}
