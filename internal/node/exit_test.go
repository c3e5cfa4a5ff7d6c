package node

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestDocumentedExitCodes holds the documentation's table against the constants
// and their comments.
func TestDocumentedExitCodes(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "exit.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(v.Names[0].Name, "Ex") && v.Comment != nil {
			_, _ = fmt.Fprintf(&want, "| %s | %s |\n", v.Values[0].(*ast.BasicLit).Value, strings.TrimSpace(v.Comment.Text()))
		}
		return true
	})
	b, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "| 0 | done |\n")
	got, _, ok := strings.Cut(rest, "<!-- end of exit codes -->")
	if !ok || got != want.String() {
		t.Errorf("the table of exit codes in docs/operations.md is\n%s, want\n%s", got, want.String())
	}
}

// TestUnitsGiveUpOnUsageAndConfiguration: the units know the codes of mistakes
// that another start does not mend.
func TestUnitsGiveUpOnUsageAndConfiguration(t *testing.T) {
	want := fmt.Sprintf("RestartPreventExitStatus=%d %d\n", ExUsage, ExConfig)
	for _, role := range []string{"master", "seed", "leaf"} {
		b, err := os.ReadFile("../../systemd/distd-" + role + ".service")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), want) {
			t.Errorf("the unit of a %s has no line %q", role, want)
		}
	}
}
