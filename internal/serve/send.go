package serve

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distd/internal/manifest"
)

// search finds a path in a manifest's files, which are sorted by it.
func search(files []manifest.File, path string) (int, bool) {
	return slices.BinarySearchFunc(files, path, func(f manifest.File, p string) int { return strings.Compare(f.Path, p) })
}

// sendFile sends a file of the content. http.ServeContent does ranges and
// preconditions; its copy ends in sendfile(2) on plain connections.
//
// Last-Modified is when the release was made, not the file's own time: under a
// plain name a newer release may bring an older file, and a client that goes by
// dates must fetch it nevertheless.
func (s *Server) sendFile(w *response, r *http.Request, rel *Release, f *manifest.File, path string) {
	sum, err := hex.DecodeString(f.SHA256)
	if err != nil {
		s.failErr(w, r, fmt.Errorf("manifest of release %s: %w", rel.ID, err), "")
		return
	}
	file, err := s.openAgain(rel, func(rel *Release) (*os.File, error) {
		return openBelow(filepath.Join(rel.Dir, "content"), path)
	})
	if err != nil {
		s.failErr(w, r, fmt.Errorf("release %s: %w", rel.ID, err), "the file is gone from this node")
		return
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != f.Size) {
		err = fmt.Errorf("%s has %d bytes, the manifest says %d; run distd verify", file.Name(), info.Size(), f.Size)
	}
	if err != nil {
		s.failErr(w, r, fmt.Errorf("release %s: %w", rel.ID, err), "")
		return
	}
	h := w.Header()
	describe(h, sum)
	if continues(r, h.Get("ETag")) {
		h.Del("Digest")
		h.Del("Repr-Digest")
	} else {
		s.link(h, rel, f, s.baseURL(r))
	}
	h.Set("Content-Type", contentType(f.Path))
	boundRanges(r)
	if s.cfg.Up != nil {
		w.limit(r.Context(), s.cfg.Up(rel.Manifest.Channel))
	}
	http.ServeContent(w, r, "", rel.Manifest.Created, file)
}

// continues says whether a request asks for a further part of bytes of which the
// client knows the ETag. It has then also seen their digests and links, which
// are half a kilobyte: a download of many ranges over a long link would get
// them hundreds of times.
func continues(r *http.Request, etag string) bool {
	return r.Header.Get("Range") != "" && r.Header.Get("If-Range") == etag
}

// openAgain opens something of a release, and once more by a fresh look-up
// when it is gone: a release moves when it becomes complete.
func (s *Server) openAgain(rel *Release, open func(*Release) (*os.File, error)) (*os.File, error) {
	f, err := open(rel)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	moved, merr := s.cfg.Catalog.Release(rel.ID)
	if merr != nil || moved.Dir == rel.Dir {
		return nil, err
	}
	return open(moved)
}

// openBelow opens a file below dir; neither ".." nor a symlink leads out.
func openBelow(dir, path string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.Open(filepath.FromSlash(path))
}

func (s *Server) openMeta(rel *Release, file string) (*os.File, error) {
	return s.openAgain(rel, func(rel *Release) (*os.File, error) { return openBelow(rel.Dir, file) })
}

type sumKey struct{ id, file string }

// serveStored sends a file of the release as it lies there.
func (s *Server) serveStored(w *response, r *http.Request, rel *Release, file, ctype string) {
	f, err := s.openMeta(rel, file)
	if err != nil {
		s.failErr(w, r, fmt.Errorf("release %s: %w", rel.ID, err), "this node does not have the file")
		return
	}
	defer func() { _ = f.Close() }()
	sum, err := s.storedSum(rel, file, f)
	if err != nil {
		s.failErr(w, r, fmt.Errorf("release %s: read %s: %w", rel.ID, file, err), "")
		return
	}
	h := w.Header()
	describe(h, sum[:])
	h.Set("Content-Type", ctype)
	boundRanges(r)
	http.ServeContent(w, r, "", rel.Manifest.Created, f)
}

// storedSum is the SHA-256 of a meta file, computed once.
func (s *Server) storedSum(rel *Release, file string, f *os.File) ([32]byte, error) {
	key := sumKey{rel.ID, file}
	if sum, ok := s.sums.get(key); ok {
		return sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return [32]byte{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return [32]byte{}, err
	}
	sum := [32]byte(h.Sum(nil))
	s.sums.put(key, sum, 1)
	return sum, nil
}

// document is bytes with their digest.
type document struct {
	data []byte
	sum  [32]byte
}

func newDocument(b []byte) *document { return &document{data: b, sum: sha256.Sum256(b)} }

// sendBytes sends a document that is in memory. modified is zero when unknown.
func sendBytes(w *response, r *http.Request, d *document, ctype string, modified time.Time) {
	h := w.Header()
	describe(h, d.sum[:])
	h.Set("Content-Type", ctype)
	boundRanges(r)
	http.ServeContent(w, r, "", modified, bytes.NewReader(d.data))
}
