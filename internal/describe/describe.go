// Package describe makes metalinks of files, as the `metalink` program of old
// pipelines does: from lines that name mirrors, from digests of the files, and
// from lists of md5sum.
package describe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"distd/pkg/metalink"
)

// Options say what is described, and how.
type Options struct {
	Paths    []string // files; folders and metalinks among them are passed over
	MD5Lists []string // files that md5sum has written
	Digests  Digests
	Mirrors  []metalink.Mirror
	// Progress is told how many bytes are read, of how many. It is not called
	// by two at once.
	Progress func(done, total int64)
}

// Entry is a file and what is known of it.
type Entry struct {
	Path   string // as it was given
	Listed bool   // it comes from a list, and was not read
	File   metalink.File
}

// Result is what Run has found out.
type Result struct {
	// Entries are those of the lists, and then those of the files, each in the
	// order in which they were given.
	Entries []Entry
	// Warnings tell what was made of an argument that is not as it should be.
	Warnings []string
	// Left says of each file or line that it could not be used, and why.
	Left []error
}

// Run reads every file once, several at the same time. Files that cannot be
// read are left out. The error is the context's.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := &Result{}
	for _, list := range o.MD5Lists {
		entries, left, err := readMD5List(list)
		if err != nil {
			left = append(left, err)
		}
		r.Entries, r.Left = append(r.Entries, entries...), append(r.Left, left...)
	}
	if err := r.read(ctx, o); err != nil {
		return nil, err
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		var warning string
		if e.File.Name, warning = nameOf(e.Path); warning != "" {
			r.Warnings = append(r.Warnings, warning)
		}
		e.link(o)
	}
	return r, nil
}

// Document is the metalink of all files.
func (r *Result) Document() *metalink.Document {
	d := &metalink.Document{}
	for _, e := range r.Entries {
		d.Files = append(d.Files, e.File)
	}
	return d
}

// read hashes the files.
func (r *Result) read(ctx context.Context, o Options) error {
	var total int64
	var found []Entry
	for _, p := range o.Paths {
		if slices.Contains([]string{".metalink", ".meta4"}, path.Ext(p)) {
			continue
		}
		info, err := os.Stat(p)
		switch {
		case err != nil:
			r.Left = append(r.Left, err)
		case info.IsDir():
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s is passed over: it is a folder; name the files in it", p))
		case !info.Mode().IsRegular():
			r.Left = append(r.Left, fmt.Errorf("%s is no regular file", p))
		default:
			total += info.Size()
			found = append(found, Entry{Path: p})
		}
	}
	var mu sync.Mutex
	var done int64
	progress := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		done += int64(n)
		o.Progress(done, total)
	}
	errs := make([]error, len(found))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range found {
		g.Go(func() error {
			errs[i] = found[i].read(gctx, o.Digests, progress)
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, err := range errs {
		if err != nil {
			r.Left = append(r.Left, err)
			continue
		}
		r.Entries = append(r.Entries, found[i])
	}
	return nil
}

func (e *Entry) read(ctx context.Context, d Digests, progress func(int)) error {
	f, err := os.Open(e.Path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	before, err := f.Stat()
	if err == nil {
		err = d.sum(ctx, f, before.Size(), progress, &e.File)
	}
	after, serr := f.Stat()
	if err = errors.Join(err, serr); err == nil && !after.ModTime().Equal(before.ModTime()) {
		err = ErrChanged
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	return nil
}

// nameOf is the name that a file has in the metalink. Readers refuse names
// that lead out of the folder of their downloads.
func nameOf(given string) (name, warning string) {
	name = path.Clean(given)
	if !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../") {
		return name, ""
	}
	name = path.Base(name)
	return name, fmt.Sprintf("%s is called %s in the metalink and in its URLs: a name there must not begin with / or ..", given, name)
}

// link gives the file its URLs. A SHA-1 or eDonkey digest is an address too.
func (e *Entry) link(o Options) {
	f := &e.File
	for _, m := range o.Mirrors {
		m.AddTo(f)
	}
	if e.Listed {
		return
	}
	if o.Digests.has("sha1") {
		f.Links = append(f.Links, metalink.Link{Type: "magnet", URL: "magnet:?xt=urn:sha1:" + f.Hashes["sha-1"] + "&dn=" + url.QueryEscape(f.Name)})
	}
	if o.Digests.has(ed2kName) {
		name := strings.ReplaceAll(f.Name, "|", "_")
		f.Links = append(f.Links, metalink.Link{Type: ed2kName, URL: fmt.Sprintf("ed2k://|file|%s|%d|%s|/", name, f.Size, f.Hashes[ed2kName])})
	}
}
