package describe

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"distd/pkg/metalink"
)

// ErrLine says that a line of an MD5 list or of the mirrors cannot be used.
var ErrLine = errors.New("line cannot be used")

// The lines of md5sum, and those of BSD's md5 and openssl.
var (
	md5sumLine = regexp.MustCompile(`^([0-9a-fA-F]{32}) [ *](.+)$`)
	bsdLine    = regexp.MustCompile(`^MD5 ?\((.+)\) ?= ?([0-9a-fA-F]{32})$`)
)

// readMD5List reads what md5sum has printed. Nothing is known of the files but
// their names and sums; they need not be here. The lines that cannot be used
// are in left.
func readMD5List(path string) (entries []Entry, left []error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), "\r")
		if line == "" {
			continue
		}
		name, sum, ok := md5Line(line)
		if !ok {
			left = append(left, fmt.Errorf("%s:%d: %w: %.100q is neither \"SUM  NAME\" nor \"MD5 (NAME) = SUM\"", path, n, ErrLine, line))
			continue
		}
		entries = append(entries, Entry{Path: name, Listed: true, File: metalink.File{Size: -1, Hashes: map[string]string{"md5": sum}}})
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return entries, left, nil
}

func md5Line(line string) (name, sum string, ok bool) {
	if m := md5sumLine.FindStringSubmatch(line); m != nil {
		return m[2], strings.ToLower(m[1]), true
	}
	if m := bsdLine.FindStringSubmatch(line); m != nil {
		return m[1], strings.ToLower(m[2]), true
	}
	return "", "", false
}
