package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// settingsTable is the table of docs/operations.md, made from the code.
func settingsTable() string {
	var b strings.Builder
	for _, s := range Settings() {
		def := s.Default
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Key, def, s.Reload, s.Usage)
	}
	return b.String()
}

// TestDocumentedSettings holds the documentation's table against the code. Set
// DISTD_TEST_UPDATE=1 to write it anew.
func TestDocumentedSettings(t *testing.T) {
	const file = "../../docs/operations.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), "|---|---|---|---|\n")
	_, tail, ok2 := strings.Cut(rest, "<!-- end of settings -->")
	if !ok1 || !ok2 {
		t.Fatal("docs/operations.md has no table of settings")
	}
	want := head + "|---|---|---|---|\n" + settingsTable() + "<!-- end of settings -->" + tail
	if string(b) == want {
		return
	}
	if os.Getenv("DISTD_TEST_UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Error("the table of settings in docs/operations.md is not what the code says; DISTD_TEST_UPDATE=1 go test ./internal/config writes it")
}
