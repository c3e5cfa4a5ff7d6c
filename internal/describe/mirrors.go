package describe

import (
	"fmt"
	"net/url"
	"strings"

	"distd/pkg/metalink"
)

// ParseMirrors reads the mirror lines of the `metalink` program. addPath is
// appended to each of them as it is. left has the lines that cannot be used;
// the warnings tell what was made of those that are not as they should be.
func ParseMirrors(text, addPath string) (mirrors []metalink.Mirror, warnings []string, left []error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "-e "); ok && n == 1 {
			warnings = append(warnings, "mirrors:1: the -e at the beginning is passed over: this shell's echo does not know it; use printf or bash")
			line = strings.TrimSpace(rest)
		}
		if line == "" {
			continue
		}
		m, err := metalink.ParseMirror(line)
		if err != nil {
			left = append(left, fmt.Errorf("mirrors:%d: %w: %w", n, ErrLine, err))
			continue
		}
		if m.Guessed {
			words := strings.Fields(line)
			last := len(words) - 1
			warnings = append(warnings, fmt.Sprintf("mirrors:%d: there is no %% before the URL; it is taken for %q, write it so", n,
				strings.Join(words[:last], " ")+" % "+words[last]))
		}
		if u, err := url.Parse(m.Base); err == nil && u.User != nil {
			warnings = append(warnings, fmt.Sprintf("mirrors:%d: the URL has a user or password in it, for all to read who get the metalink: give clients a netrc file instead", n))
		}
		m.Base += addPath
		mirrors = append(mirrors, m)
	}
	if addPath != "" && !strings.HasSuffix(addPath, "/") {
		warnings = append(warnings, fmt.Sprintf("addpath %q does not end with a slash: it runs into the names of the files", addPath))
	}
	return mirrors, warnings, left
}
