// Package names says which names a release, its files, a channel and a zone may
// have.
//
// The rules hold on every node, whoever made the release: a release that breaks
// one is refused whole and nothing is ever renamed to fit. The package is
// vocabulary: it does no I/O and every other package may use it.
package names

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Bounds of names, in bytes and levels.
const (
	MaxElement = 255
	MaxPath    = 1024
	MaxDepth   = 32
)

// Element checks one element of a path, which is also the rule for a release's
// name. The error says what rule is broken and quotes the name.
func Element(e string) error {
	switch {
	case e == "":
		return errors.New("name is empty")
	case e == "." || e == "..":
		return fmt.Errorf("name %q is not allowed", e)
	case len(e) > MaxElement:
		return fmt.Errorf("name %q... is longer than %d bytes", e[:32], MaxElement)
	case plain(e):
		return nil
	case !utf8.ValidString(e):
		return fmt.Errorf("name %q is not valid UTF-8", e)
	case !norm.NFC.IsNormalString(e):
		return fmt.Errorf("name %q is not in Unicode form NFC", e)
	}
	for _, r := range e {
		if r == '/' || r == '\\' {
			return fmt.Errorf("name %q has a slash or backslash in it", e)
		}
		if unicode.IsControl(r) {
			return fmt.Errorf("name %q has a control character in it", e)
		}
	}
	return nil
}

// plain says whether a name consists of printable ASCII without slashes alone, in
// which no rule about characters is broken.
func plain(e string) bool {
	for i := range len(e) {
		if c := e[i]; c < ' ' || c > '~' || c == '/' || c == '\\' {
			return false
		}
	}
	return true
}

// ReleaseName checks the name of a release, which becomes a name in the node's
// directory: an element that is not one of distd's own names.
func ReleaseName(n string) error {
	if err := Element(n); err != nil {
		return err
	}
	if strings.HasPrefix(n, ".distd") {
		return fmt.Errorf("name %q is distd's own", n)
	}
	return nil
}

// Path checks a slash-separated relative path.
func Path(p string) error {
	if len(p) > MaxPath {
		return fmt.Errorf("path %q... is longer than %d bytes", strings.ToValidUTF8(p[:64], "?"), MaxPath)
	}
	if strings.Count(p, "/") >= MaxDepth {
		return fmt.Errorf("path %q is deeper than %d levels", p, MaxDepth)
	}
	for e := range strings.SplitSeq(p, "/") {
		if err := Element(e); err != nil {
			return fmt.Errorf("path %q: %w", p, err)
		}
	}
	return nil
}

// Set collects the paths of one release and refuses those that break a rule by
// themselves or together: duplicates, two that differ only in case, a file that
// is also a folder. The zero value is ready to use.
type Set struct {
	seen map[string]entry // by folded path
	// parent is the folder of the path that was added last: most come folder by
	// folder, and the folders above need to be added once.
	parent string
}

type entry struct {
	path string
	dir  bool
	// listed says that the path was added itself, not only as a parent.
	listed bool
}

// Add checks a file's (or symlink's) path and adds it.
func (s *Set) Add(p string) error { return s.add(p, false) }

// AddDir checks a folder's path and adds it. Folders above added paths need
// not be added.
func (s *Set) AddDir(p string) error { return s.add(p, true) }

func (s *Set) add(p string, dir bool) error {
	if err := Path(p); err != nil {
		return err
	}
	if s.seen == nil {
		s.seen = map[string]entry{}
	}
	if parent := p[:max(0, strings.LastIndexByte(p, '/'))]; parent != s.parent {
		for i := range len(p) {
			if p[i] != '/' {
				continue
			}
			if err := s.put(p[:i], entry{path: p[:i], dir: true}); err != nil {
				return err
			}
		}
		s.parent = parent
	}
	return s.put(p, entry{path: p, dir: dir, listed: true})
}

func (s *Set) put(p string, e entry) error {
	key := Fold(p)
	old, ok := s.seen[key]
	if !ok {
		s.seen[key] = e
		return nil
	}
	switch {
	case old.path != p:
		return fmt.Errorf("paths %q and %q differ only in case", old.path, p)
	case old.dir != e.dir:
		return fmt.Errorf("path %q is a file and a folder", p)
	case old.listed && e.listed:
		return fmt.Errorf("path %q appears twice", p)
	}
	if e.listed {
		s.seen[key] = e
	}
	return nil
}

// Fold returns the form of a name in which names that differ only in case are
// equal.
func Fold(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFC.String(cases.Fold().String(s))
		}
	}
	return strings.ToLower(s)
}

// Channel checks the name of a channel: 1 to 63 of a-z, 0-9, '.', '_' and '-',
// the first a letter or digit, so that it is safe in paths, URLs and labels.
func Channel(c string) error {
	if c == "" || len(c) > 63 {
		return fmt.Errorf("channel %.64q is not 1 to 63 characters long", c)
	}
	for i := range len(c) {
		b := c[i]
		ok := b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || i > 0 && (b == '.' || b == '_' || b == '-')
		if !ok {
			return fmt.Errorf("channel %q: %q is not allowed here (a-z, 0-9, then also . _ -)", c, string(rune(b)))
		}
	}
	return nil
}

// maxZone is the length of a zone's name, in bytes.
const maxZone = 63

// Zone checks the name of a zone: 1 to 63 of a-z, A-Z, 0-9, '-' and '_'.
func Zone(z string) error {
	if z == "" || len(z) > maxZone {
		return fmt.Errorf("zone %.64q is not 1 to %d characters long", z, maxZone)
	}
	for i := range len(z) {
		b := z[i]
		if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' {
			continue
		}
		return fmt.Errorf("zone %q: %q is not allowed here (a-z, A-Z, 0-9, - and _)", z, string(rune(b)))
	}
	return nil
}

// Symlink checks that the target of the symlink at path p is relative and
// stays inside the tree that p lies in. ".." may only stand first: behind the
// name of another symlink it could leave the tree from wherever that one leads.
func Symlink(p, target string) error {
	if target == "" || len(target) > MaxPath || strings.HasPrefix(target, "/") || strings.ContainsAny(target, "\\\x00") || !utf8.ValidString(target) {
		return fmt.Errorf("symlink %q: target %q is not a relative path", p, target)
	}
	depth := strings.Count(p, "/")
	named := false
	for _, e := range strings.Split(target, "/") {
		switch e {
		case "..":
			if depth--; depth < 0 || named {
				return fmt.Errorf("symlink %q: target %q may leave the release", p, target)
			}
		case ".", "":
		default:
			named = true
		}
	}
	return nil
}
