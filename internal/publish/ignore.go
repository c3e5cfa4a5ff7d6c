package publish

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// IgnoreFile is a file at the root of a tree that says which of its files are
// not published, in the form of .dockerignore: a pattern a line, relative to the
// root, "**" for any number of folders, "!" for exceptions, "#" for comments. It
// is not published itself.
const IgnoreFile = ".distdignore"

// Bounds of an ignore file, in bytes and patterns.
const (
	maxIgnoreFile     = 1 << 20
	maxIgnorePatterns = 10_000
)

// Ignore says which paths of a tree are not published. A nil one leaves nothing
// out. It may be used from several goroutines.
type Ignore struct {
	mu sync.Mutex                     // the matcher keeps what it has compiled
	pm *patternmatcher.PatternMatcher // nil: no patterns
	// exceptions are the beginnings of the patterns with "!", as far as they have
	// no wildcard: only in folders on the way there can something be kept.
	exceptions []string
	text       string // all patterns, one a line
}

// OpenIgnore reads the ignore file of the tree below a folder, if there is one.
// The further patterns in exclude come after those of the file.
func OpenIgnore(dir string, exclude []string) (*Ignore, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // it is only read
	return readIgnore(root, exclude)
}

func readIgnore(root *os.Root, exclude []string) (*Ignore, error) {
	data, err := readIgnoreFile(root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", IgnoreFile, err)
	}
	var patterns []string
	for i, line := range strings.Split(string(data), "\n") {
		p, err := parsePattern(line)
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", IgnoreFile, i+1, err)
		}
		patterns = append(patterns, p...)
	}
	for _, e := range exclude {
		p, err := parsePattern(e)
		if err == nil && len(p) == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("pattern %q of -exclude: %w", e, err)
		}
		patterns = append(patterns, p...)
	}
	if len(patterns) > maxIgnorePatterns {
		return nil, fmt.Errorf("%s: %d patterns are more than %d", IgnoreFile, len(patterns), maxIgnorePatterns)
	}
	g := &Ignore{text: strings.Join(patterns, "\n")}
	if len(patterns) == 0 {
		return g, nil
	}
	if g.pm, err = patternmatcher.New(patterns); err != nil {
		return nil, fmt.Errorf("%s: %w", IgnoreFile, err)
	}
	for _, p := range g.pm.Patterns() {
		if p.Exclusion() {
			fixed := p.String()
			if i := strings.IndexAny(fixed, `*?[\`); i >= 0 {
				fixed = fixed[:i]
			}
			g.exceptions = append(g.exceptions, fixed)
		}
	}
	return g, nil
}

func readIgnoreFile(root *os.Root) ([]byte, error) {
	st, err := root.Stat(IgnoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, cause(err)
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	f, err := root.Open(IgnoreFile)
	if err != nil {
		return nil, cause(err)
	}
	defer func() { _ = f.Close() }() // it is only read
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err == nil && len(data) > maxIgnoreFile {
		err = fmt.Errorf("it is larger than %d bytes", maxIgnoreFile)
	}
	return data, err
}

// parsePattern returns the pattern of a line; none for a comment or an empty
// line. It tries the pattern out, as some faults show only then.
func parsePattern(line string) ([]string, error) {
	p, err := ignorefile.ReadAll(strings.NewReader(line))
	if err != nil || len(p) == 0 {
		return nil, err
	}
	pm, err := patternmatcher.New([]string{strings.TrimPrefix(p[0], "!")})
	if err == nil {
		_, err = pm.MatchesOrParentMatches("x")
	}
	if err == nil && p[0] == "!" {
		err = errors.New("! wants a pattern behind it")
	}
	return p, err
}

// String returns the patterns, one a line.
func (g *Ignore) String() string {
	if g == nil {
		return ""
	}
	return g.text
}

// LeaveOut says whether the path, slash-separated and below the tree's root, is
// not published. For a folder it says so when nothing below it is either.
func (g *Ignore) LeaveOut(path string, folder bool) bool {
	return g.matches(path) && !(folder && g.mayKeepBelow(path))
}

func (g *Ignore) matches(path string) bool {
	if g == nil || g.pm == nil || path == IgnoreFile {
		return g != nil && path == IgnoreFile // whatever exceptions there are
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ok, err := g.pm.MatchesOrParentMatches(path)
	return ok && err == nil // all patterns were tried
}

// mayKeepBelow says whether an exception can be for something below a folder.
func (g *Ignore) mayKeepBelow(folder string) bool {
	for _, e := range g.exceptions {
		if strings.HasPrefix(e, folder+"/") || strings.HasPrefix(folder+"/", e) {
			return true
		}
	}
	return false
}
