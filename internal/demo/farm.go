package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"distd/internal/node"
)

// farm is all the nodes of the demo.
type farm struct {
	Options
	net     int // the second number of the loopback addresses
	master  *member
	seeds   []*member
	leaves  []*member
	cert    string
	members []*member
}

// member is one node: a process and its folder.
type member struct {
	name string
	dc   int
	addr string
	dir  string
	cmd  *exec.Cmd
	done chan error
}

func newFarm(o Options) (*farm, error) {
	f := &farm{Options: o, net: 16 + rand.IntN(200)}
	add := func(name string, dc, host int) *member {
		m := &member{name: name, dc: dc, addr: fmt.Sprintf("127.%d.%d.%d", f.net, dc, host), dir: filepath.Join(o.Dir, name)}
		f.members = append(f.members, m)
		return m
	}
	f.master = add("master", 0, 1)
	for dc := 1; dc <= o.Datacenters; dc++ {
		f.seeds = append(f.seeds, add(fmt.Sprintf("dc%d-seed", dc), dc, 1))
		for l := 1; l <= o.Leaves; l++ {
			f.leaves = append(f.leaves, add(fmt.Sprintf("dc%d-leaf%d", dc, l), dc, 1+l))
		}
	}
	for _, m := range f.members {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *farm) printf(format string, args ...any) { _, _ = fmt.Fprintf(f.Out, format, args...) }

// start starts every node and waits until it answers.
func (f *farm) start(ctx context.Context) error {
	var err error
	if f.cert, err = makeCert(f.Dir, f.master.addr); err != nil {
		return err
	}
	f.printf("Starting a master and %d datacenters of one seed and %d leaves each, on 127.%d.0.0/16\n", f.Datacenters, f.Leaves, f.net)
	masterPort, err := freePort(f.master.addr)
	if err != nil {
		return err
	}
	listen := net.JoinHostPort(f.master.addr, masterPort)
	if err := f.run(ctx, f.master, "-role=master", "-listen="+listen, "-tls-cert="+f.cert, "-tls-key="+filepath.Join(f.Dir, "key.pem")); err != nil {
		return err
	}
	tracker := map[int]string{}
	for _, m := range f.seeds {
		port, peer, err := freePorts(m.addr)
		if err != nil {
			return err
		}
		tracker[m.dc] = "http://" + net.JoinHostPort(m.addr, port)
		if err := f.run(ctx, m, "-role=seed", "-master=https://"+listen, "-ca="+f.cert,
			"-listen="+net.JoinHostPort(m.addr, port), "-peer-listen="+net.JoinHostPort(m.addr, peer)); err != nil {
			return err
		}
	}
	for _, m := range f.leaves {
		hook, err := makeHook(f.Dir, m)
		if err != nil {
			return err
		}
		peer, err := freePort(m.addr)
		if err != nil {
			return err
		}
		if err := f.run(ctx, m, "-role=leaf", "-seed="+tracker[m.dc], "-channel="+channel,
			"-peer-listen="+net.JoinHostPort(m.addr, peer), "-hook="+hook); err != nil {
			return err
		}
	}
	return nil
}

// run starts a member and waits for its control socket.
func (f *farm) run(ctx context.Context, m *member, args ...string) error {
	log, err := os.Create(m.dir + ".log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	m.cmd = exec.Command(f.Bin, append(args, "-dir="+m.dir, "-log-format=console")...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.Env = cleanEnv()
	// The nodes end with the demo, however it ends.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.done = make(chan error, 1)
	go func() { m.done <- m.cmd.Wait() }()
	for {
		if c, err := node.DialControl(m.dir); err == nil {
			if _, err := c.Status(ctx); err == nil {
				return nil
			}
		}
		select {
		case err := <-m.done:
			m.done <- err
			return fmt.Errorf("%s ended: %w\n%s", m.name, err, tail(m.dir+".log"))
		case <-ctx.Done():
			return fmt.Errorf("%s did not come up: %w", m.name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cleanEnv is the environment without settings of distd, which would reach the
// nodes of the demo.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DISTD_") {
			env = append(env, e)
		}
	}
	return append(env, "DISTD_CONFIG=/dev/null")
}

// stop ends every node: gently, then for certain.
func (f *farm) stop() error {
	for _, m := range f.members {
		if m.cmd != nil && m.cmd.Process != nil {
			_ = m.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	var errs []error
	for _, m := range f.members {
		if m.done == nil {
			continue
		}
		select {
		case err := <-m.done:
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			}
		case <-time.After(10 * time.Second):
			_ = m.cmd.Process.Kill()
			errs = append(errs, fmt.Errorf("%s did not end within 10 s and was killed: %w", m.name, <-m.done))
		}
	}
	return errors.Join(errs...)
}

func freePort(addr string) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		return "", fmt.Errorf("%w (the demo wants the addresses 127.0.0.0/8 of the loopback interface)", err)
	}
	defer func() { _ = ln.Close() }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}

func freePorts(addr string) (a, b string, err error) {
	if a, err = freePort(addr); err != nil {
		return "", "", err
	}
	for b = a; a == b && err == nil; {
		b, err = freePort(addr)
	}
	return a, b, err
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-2000):])
}
