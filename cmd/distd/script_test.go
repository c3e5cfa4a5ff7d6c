package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v3"

	"distd/internal/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"distd": main})
}

// TestScripts runs the command lines of testdata/script. Beside testscript's
// own commands there are: "exits CODE distd ..." for the exit code, "flip FILE
// OFFSET", which changes a bit, "until TEXT distd ...", which runs it again until
// its output has the text, and "hup DIR" for the daemon of a folder.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("DISTD_CONFIG", "/dev/null")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "flip": flip, "until": until, "hup": hup},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT ...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code, ok := strings.CutPrefix(err.Error(), "exit status ")
		if !ok {
			ts.Fatalf("%v", err)
		}
		got, err = strconv.Atoi(code)
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit code %d, want %s", got, want)
	}
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	off, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b[off] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until TEXT PROGRAM ARGUMENT ...")
	}
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = ts.Exec(args[1], args[2:]...); err == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
	}
	ts.Fatalf("%q does not come: %v", args[0], err)
}

func hup(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0] + "/.distd/lock")))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGHUP))
}

// helpOf is what a verb's help text says.
func helpOf(t *testing.T, verb ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	args := append(append([]string{"distd"}, verb...), "-help")
	if code := run(t.Context(), args, strings.NewReader(""), &out, &stderr); code != 0 {
		t.Fatalf("%q: exit code %d\n%s", args, code, stderr.String())
	}
	return out.String()
}

// TestHelpNamesEverything: the help text of every verb has its usage and every
// flag with a meaning, and the root's has every verb and every setting.
func TestHelpNamesEverything(t *testing.T) {
	root := command(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
	help := helpOf(t)
	for _, s := range config.Settings() {
		if !strings.Contains(help, "--"+s.Flag()+" ") || !strings.Contains(help, s.Usage) {
			t.Errorf("distd -help does not explain -%s", s.Flag())
		}
	}
	checkVerbsHelp(t, root, help)
}

func checkVerbsHelp(t *testing.T, parent *cli.Command, help string, above ...string) {
	t.Helper()
	for _, c := range parent.Commands {
		if !strings.Contains(help, "   "+c.Name+" ") || !strings.Contains(help, c.Usage) {
			t.Errorf("the help of %s does not explain the verb %s", parent.Name, c.Name)
		}
		verb := append(slices.Clone(above), c.Name)
		text := helpOf(t, verb...)
		if c.Usage == "" || !strings.Contains(text, c.Usage) {
			t.Errorf("the help of %s does not say what it does", verb)
		}
		for _, f := range c.Flags {
			checkFlagHelp(t, c.Name, f, text)
		}
		checkVerbsHelp(t, c, text, verb...)
	}
}

func checkFlagHelp(t *testing.T, verb string, f cli.Flag, text string) {
	t.Helper()
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok || doc.GetUsage() == "" {
		t.Errorf("flag -%s of %s has no usage", f.Names()[0], verb)
		return
	}
	usage := strings.ReplaceAll(doc.GetUsage(), "`", "")
	if !strings.Contains(text, usage) {
		t.Errorf("the help of %s does not explain -%s: %q", verb, f.Names()[0], usage)
	}
	for _, name := range f.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		if !slices.ContainsFunc([]string{" ", ",", "\n"}, func(end string) bool { return strings.Contains(text, fmt.Sprint(dashes, name, end)) }) {
			t.Errorf("the help of %s does not name -%s", verb, name)
		}
	}
}

// TestVerbsAreDocumented: the README or the operations manual names each verb.
func TestVerbsAreDocumented(t *testing.T) {
	var text string
	for _, file := range []string{"../../README.md", "../../docs/operations.md"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text += string(b)
	}
	for _, c := range command(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}).Commands {
		if !strings.Contains(text, "distd "+c.Name) {
			t.Errorf("neither README.md nor docs/operations.md speaks of distd %s", c.Name)
		}
	}
}
