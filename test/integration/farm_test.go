package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"distd/internal/node"
	"distd/test/netlab/hostile"
)

// bin is the distd binary under test, built once by TestMain.
var bin string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == hostilePeer {
		if err := hostile.Main(context.Background(), os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "distd-integration-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // other users run it too
		return 1, err
	}
	bin = filepath.Join(dir, "distd")
	build := exec.Command("go", append(append([]string{"build", "-o", bin}, buildFlags...), "distd/cmd/distd")...)
	build.Env = append(os.Environ(), "CGO_ENABLED="+cgo(buildFlags))
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building distd: %w\n%s", err, out)
	}
	// go test takes an old result when no file that the test has opened has
	// changed. It does not see what the build has opened, but for what is
	// imported here too.
	for _, pattern := range []string{"../../cmd/distd/*.go", "../../internal/demo/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return 1, err
		}
		for _, f := range files {
			if _, err := os.ReadFile(f); err != nil {
				return 1, err
			}
		}
	}
	// Most tests wait more than they compute.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := f.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

// buildFlags are those of the binary under test.
var buildFlags []string

// cgo is what the build wants: the race detector is the only part with C in it.
func cgo(flags []string) string {
	if slices.Contains(flags, "-race") {
		return "1"
	}
	return "0"
}

// notShort skips what takes long: tests with foreign programs and those that do
// something many times.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long; left out by -short")
	}
}

// need returns the path of a foreign program. Where it is missing the test is
// skipped, or fails in CI, where everything must be there.
func need(t *testing.T, program string) string {
	t.Helper()
	notShort(t)
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
	return ""
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("wants root")
	}
	t.Skip("wants root")
}

// proc is a process that a test started.
type proc struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid when done is closed

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *proc) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// log is what the process has printed so far.
func (p *proc) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start runs a program until the test ends it or is over. Its output is shown
// when the test fails.
func start(t *testing.T, argv ...string) *proc {
	t.Helper()
	p := &proc{name: filepath.Base(argv[0]), cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DISTD_") {
			p.cmd.Env = append(p.cmd.Env, e)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "DISTD_CONFIG=/dev/null")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM, 5*time.Second)
		if t.Failed() {
			t.Logf("%s %q printed:\n%s", p.name, argv[1:], last(p.log(), 6000))
		}
	})
	return p
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// stop sends a signal and kills what has not ended after the grace.
func (p *proc) stop(sig syscall.Signal, grace time.Duration) {
	_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// kill9 ends the process as a crash would.
func (p *proc) kill9() { p.stop(syscall.SIGKILL, time.Minute) }

// run runs a program to its end and returns what it printed and its exit code.
func run(t *testing.T, argv ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	cmd.Env = append(os.Environ(), "DISTD_CONFIG=/dev/null")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", argv, err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// host hands out a loopback address of its own to each caller, so that every
// node can use the usual ports.
func host(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.%d.%d.%d", 2+mrand.IntN(250), mrand.IntN(256), 2+mrand.IntN(250))
		ok := true
		for _, port := range []string{"6969", "6881", "8443"} {
			ln, err := net.Listen("tcp", net.JoinHostPort(addr, port))
			if err != nil {
				ok = false
				break
			}
			_ = ln.Close()
		}
		if ok {
			return addr
		}
	}
	t.Fatal("no free loopback address")
	return ""
}

// member is a distd daemon of a test.
type member struct {
	*proc
	t    *testing.T
	role string
	addr string // loopback address
	dir  string
	args []string
	wrap []string // a command that the daemon's command is given to
}

// url is the member's HTTP address.
func (m *member) url() string {
	switch m.role {
	case "master":
		return "https://" + m.addr + ":8443"
	default:
		return "http://" + m.addr + ":6969"
	}
}

// newMaster starts a master with a certificate, whose file is DIR.pem.
func newMaster(t *testing.T, args ...string) *member {
	t.Helper()
	m := &member{t: t, role: "master", addr: host(t), dir: filepath.Join(t.TempDir(), "master")}
	cert, key := makeCert(t, m.addr)
	m.args = append([]string{"-role=master", "-dir=" + m.dir, "-listen=" + m.addr + ":8443", "-tls-cert=" + cert, "-tls-key=" + key}, args...)
	m.restart()
	return m
}

// ca is the file with the master's certificate.
func (m *member) ca() string {
	for _, a := range m.args {
		if f, ok := strings.CutPrefix(a, "-tls-cert="); ok {
			return f
		}
	}
	return ""
}

// newSeed starts a seed of a master; upstream may be another URL than the
// master's own, such as a proxy's.
func newSeed(t *testing.T, master *member, upstream string, args ...string) *member {
	t.Helper()
	if upstream == "" {
		upstream = master.url()
	}
	m := &member{t: t, role: "seed", addr: host(t), dir: filepath.Join(t.TempDir(), "seed")}
	m.args = append([]string{"-role=seed", "-master=" + upstream, "-ca=" + master.ca(), "-dir=" + m.dir,
		"-listen=" + m.addr + ":6969", "-peer-listen=" + m.addr + ":6881"}, args...)
	m.restart()
	return m
}

// newLeaf starts a leaf of a seed.
func newLeaf(t *testing.T, seed *member, args ...string) *member {
	t.Helper()
	m := &member{t: t, role: "leaf", addr: host(t), dir: filepath.Join(t.TempDir(), "leaf")}
	m.args = append([]string{"-role=leaf", "-seed=" + seed.url(), "-dir=" + m.dir, "-peer-listen=" + m.addr + ":6881"}, args...)
	m.restart()
	return m
}

// restart starts the member's process (again) and waits until it answers.
func (m *member) restart() {
	m.t.Helper()
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	argv := append(m.wrap[:len(m.wrap):len(m.wrap)], bin, "-log-level=debug")
	m.proc = start(m.t, append(argv, m.args...)...)
	m.proc.name = m.role
	await(m.t, 20*time.Second, m.role+" answers", func() bool {
		select {
		case <-m.done:
			m.t.Fatalf("%s ended: %v\n%s", m.role, m.err, m.log())
		default:
		}
		_, err := m.status()
		return err == nil
	})
}

func (m *member) status() (*node.Status, error) {
	c, err := node.DialControl(m.dir)
	if err != nil {
		return nil, err
	}
	return c.Status(m.t.Context())
}

// release is the member's state of a release; its State is empty when the
// member does not know it.
func (m *member) release(channel string, serial uint64) node.ReleaseStatus {
	s, err := m.status()
	if err != nil {
		return node.ReleaseStatus{}
	}
	for _, r := range s.Releases {
		if r.Channel == channel && r.Serial == serial {
			return r
		}
	}
	return node.ReleaseStatus{}
}

// published is what `distd publish -json` prints.
type published struct {
	ID        string `json:"id"`
	Channel   string `json:"channel"`
	Name      string `json:"name"`
	InfoHash  string `json:"infohash"`
	Serial    uint64 `json:"serial"`
	Unchanged bool   `json:"unchanged"`
}

func (m *member) publish(channel, path string, args ...string) published {
	m.t.Helper()
	argv := append([]string{bin, "publish", "-json", "-dir=" + m.dir, "-channel=" + channel}, append(args, path)...)
	out, stderr, code := run(m.t, argv...)
	if code != 0 {
		m.t.Fatalf("publish: exit code %d\n%s", code, stderr)
	}
	var p published
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		m.t.Fatalf("publish printed %q: %v", out, err)
	}
	return p
}

// await waits until a condition holds, and fails the test when it never does.
func await(t *testing.T, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s it is not so that %s", timeout, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitFile waits until a file is equal to its source.
func awaitFile(t *testing.T, timeout time.Duration, path string, want []byte) {
	t.Helper()
	await(t, timeout, path+" is there", func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() == int64(len(want))
	})
	var got []byte
	await(t, timeout, path+" is equal to its source", func() bool {
		var err error
		got, err = os.ReadFile(path)
		return err == nil && bytes.Equal(got, want)
	})
}

// payload writes a file of random bytes.
func payload(t *testing.T, name string, size int) (path string, data []byte) {
	t.Helper()
	data = make([]byte, size)
	// No two are alike: a node takes what it has already from its own disk.
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	_, _ = mrand.NewChaCha8(seed).Read(data)
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// countingHook makes a hook that notes each run; runs returns the lines
// "SERIAL ATTEMPT ARGUMENTS" noted so far.
func countingHook(t *testing.T) (path string, runs func() []string) {
	t.Helper()
	dir := t.TempDir()
	path, log := filepath.Join(dir, "hook.sh"), filepath.Join(dir, "runs")
	script := fmt.Sprintf("#!/bin/sh\necho \"$DISTD_SERIAL $DISTD_ATTEMPT $*\" >> '%s'\n", log)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, func() []string {
		b, err := os.ReadFile(log)
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

func makeCert(t *testing.T, addr string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "distd test"}, IPAddresses: []net.IP{net.ParseIP(addr), net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
