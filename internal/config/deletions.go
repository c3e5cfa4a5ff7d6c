package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Deletions is how many of a channel's files one publish may delete: a number of
// files, or a share of them in per cent.
type Deletions struct {
	Number  int
	Percent bool
}

// ParseDeletions reads max_delete: "500", "30%" or "none", for which it returns
// nil.
func ParseDeletions(text string) (*Deletions, error) {
	if text == "none" || text == "100%" {
		return nil, nil
	}
	digits, percent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || percent && n > 100 {
		return nil, fmt.Errorf("max_delete %q is not a number of files such as 500, a share such as 30%%, or none", text)
	}
	return &Deletions{Number: int(n), Percent: percent}, nil
}
