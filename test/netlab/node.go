package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is a host with a peer on it.
type Node struct {
	*Host
	Client Client
	Dir    string // where the content lies or goes
	Mbit   float64

	argv           []string
	log, hook, end string // files; end is there once the hook has run

	mu      sync.Mutex
	proc    *Proc // nil while it is not to run
	started time.Time
	spent   time.Duration // CPU of earlier processes
	before  time.Duration // CPU before what is measured
}

// newNode makes a node's host and its files.
func (s *Swarm) newNode(name string, addr netip.Addr, mbit float64) (*Node, error) {
	h := Loopback(name, addr)
	if s.net != nil {
		var err error
		if h, err = s.net.Host(name, addr, Cable{Mbit: mbit, Congestion: s.spec.Congestion}); err != nil {
			return nil, err
		}
	}
	n, err := nodeOn(h, filepath.Join(s.dir, name))
	n.Mbit = mbit
	return n, err
}

// nodeOn makes a node on a host, with its folder and its files beside it.
func nodeOn(h *Host, base string) (*Node, error) {
	n := &Node{Host: h, Dir: base, log: base + ".log", hook: base + ".hook", end: base + ".end"}
	script := fmt.Sprintf("#!/bin/sh\ndate +%%s.%%N >> '%s'\n", n.end)
	return n, errors.Join(os.Mkdir(n.Dir, 0o755), os.WriteFile(n.hook, []byte(script), 0o755))
}

// newPeer makes a node with a client. From is where rsync is to fetch the
// content; empty for a seed, which has it.
func (s *Swarm) newPeer(name string, addr netip.Addr, mbit float64, c Client, from string) (*Node, error) {
	n, err := s.newNode(name, addr, mbit)
	if err != nil {
		return nil, err
	}
	n.Client = c
	t := task{distd: s.spec.Distd, torrent: s.Content.File, dir: n.Dir, ip: addr.String(), hook: n.hook,
		encryption: s.spec.Encryption, port: s.peerPort(addr), from: from}
	if c == Rsync && from == "" {
		if t.conf, err = rsyncConf(n.Dir); err != nil {
			return nil, err
		}
	}
	n.argv = c.argv(t)
	return n, nil
}

// peerPort is a port of its own on loopback, as some clients can be told no
// address.
func (s *Swarm) peerPort(addr netip.Addr) int {
	if s.net != nil {
		return 6881
	}
	return 6880 + int(addr.As4()[3])
}

// Start starts the node's peer, for the first time or again.
func (n *Node) Start() error {
	if err := os.Remove(n.end); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started.IsZero() {
		n.started = time.Now()
	}
	p, err := n.Host.Start(n.log, n.argv...)
	n.proc = p
	return err
}

// Kill ends the node's peer as a crash would.
func (n *Node) Kill() { n.finish((*Proc).Kill) }

func (n *Node) finish(end func(*Proc)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return
	}
	end(n.proc)
	n.spent += n.proc.CPU()
	n.proc = nil
}

// Complete says when the peer's hook ran first; ok is false while it has not.
func (n *Node) Complete() (at time.Time, ok bool) {
	b, err := os.ReadFile(n.end)
	text, _, whole := strings.Cut(string(b), "\n")
	if err != nil || !whole {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(text, 64)
	return time.UnixMicro(int64(seconds * 1e6)), err == nil
}

// HookRuns is how often the peer's hook has run since its last start.
func (n *Node) HookRuns() int {
	b, _ := os.ReadFile(n.end)
	return strings.Count(string(b), "\n")
}

// Took is the time from the peer's first start to its completion.
func (n *Node) Took() time.Duration {
	at, _ := n.Complete()
	n.mu.Lock()
	defer n.mu.Unlock()
	return at.Sub(n.started)
}

// Started says when the peer was started first; the zero time while it was not.
func (n *Node) Started() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.started
}

// CPU is the time that the node's peer has computed, over all its processes.
func (n *Node) CPU() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return n.spent
	}
	return n.spent + n.proc.CPU()
}

// CPUSince is the time that the node has computed since what is measured began.
func (n *Node) CPUSince() time.Duration { return n.CPU() - n.before }

// freeze stops the node's peer without ending it.
func (n *Node) freeze() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc.cmd.Process.Signal(syscall.SIGSTOP)
}

// PeakMemory is the most memory that the running peer has had resident, in bytes.
func (n *Node) PeakMemory() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return 0
	}
	return n.proc.PeakMemory()
}

// err is not nil when a peer that is to run has ended.
func (n *Node) err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return nil
	}
	if err := n.proc.Err(); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// Log is the last of what the node's peer has printed, in n bytes at most.
func (n *Node) Log(most int) string {
	b, _ := os.ReadFile(n.log)
	return string(b[max(0, len(b)-most):])
}

// received waits until the node has received so many bytes on its cable.
func (n *Node) received(ctx context.Context, bytes int64) error {
	return await(ctx, 20*time.Millisecond, fmt.Sprintf("%s has received %d bytes", n.Name, bytes), func() (bool, error) {
		_, got, err := n.Traffic()
		return got >= bytes, err
	})
}
