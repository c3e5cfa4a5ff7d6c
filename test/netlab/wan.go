package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// WanSpec says what a download over a long link is made of.
type WanSpec struct {
	Distd  string // the binary
	Dir    string // files go into a new folder in it; it should be in memory
	Server string // what serves: distd (a master that has published) or nginx
	Size   int64
	// Links are those from each server to the client. All servers have the same.
	Links []Long
}

// Wan is HTTPS servers and a client with a long link to each.
type Wan struct {
	URLs     []string // of the content
	CA       string   // file with the servers' certificate
	Metalink string   // file that names all URLs as equal mirrors

	spec    WanSpec
	dir     string
	source  string
	net     *Net
	client  *Host
	servers []*Node
}

// Fetched is what a download took.
type Fetched struct {
	Took      time.Duration // from the start of the program to its end
	ClientCPU time.Duration
	ServerCPU time.Duration // of all servers
	LinkCPU   time.Duration // of the lab, and of the kernel when packets arrive
	Peak      int64         // resident memory of the client, bytes
	Over      []Carried     // each link, to the client
}

// NewWan starts the servers. The caller closes it.
func NewWan(ctx context.Context, spec WanSpec) (_ *Wan, err error) {
	w := &Wan{spec: spec}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if w.dir, err = os.MkdirTemp(spec.Dir, "lab-"); err != nil {
		return nil, err
	}
	w.source = filepath.Join(w.dir, "source", contentName)
	if err := makeFiles(w.source, equalSizes(spec.Size, 1)); err != nil {
		return nil, err
	}
	if w.net, err = NewNet(); err != nil {
		return nil, err
	}
	if w.client, err = w.net.Lone("client"); err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for i := range spec.Links {
		addrs = append(addrs, wanServerIP(i))
	}
	var key string
	if w.CA, key, err = Certificate(w.dir, addrs...); err != nil {
		return nil, err
	}
	for i := range spec.Links {
		if err := w.startServer(ctx, i, key); err != nil {
			return nil, err
		}
		w.URLs = append(w.URLs, fmt.Sprintf("https://%s:8443/%s", wanServerIP(i), contentName))
	}
	return w, w.writeMetalink()
}

func wanServerIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 88, byte(i), 1}) }

// Fetch runs a program on the client, over new links, in a new folder that is
// its working folder's place and is passed to argv. The content must be there
// afterwards, under its name.
func (w *Wan) Fetch(ctx context.Context, argv func(dir string) []string) (f *Fetched, err error) {
	dir := filepath.Join(w.dir, "fetched")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var links []*LongLink
	defer func() {
		for _, l := range links {
			err = errors.Join(err, l.Close())
		}
	}()
	for i, spec := range w.spec.Links {
		l, err := NewLongLink(End{w.servers[i].Host, wanServerIP(i)}, End{w.client, netip.AddrFrom4([4]byte{10, 88, byte(i), 2})}, spec)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	// The kernel remembers what it learned of a path: each program starts alike.
	for _, h := range append([]*Host{w.client}, hosts(w.servers)...) {
		if err := ip("-n", h.namespace, "tcp_metrics", "flush", "all"); err != nil {
			return nil, err
		}
	}
	f = &Fetched{}
	before := cpu(w.servers)
	if err := w.watch(ctx, f, argv(dir)); err != nil {
		return nil, err
	}
	f.ServerCPU = cpu(w.servers) - before
	for _, l := range links {
		there, _ := l.Carried()
		f.Over = append(f.Over, there)
		f.LinkCPU += l.CPU()
	}
	return f, sameTree(ctx, w.source, filepath.Join(dir, contentName))
}

// watch runs a program on the client to its end.
func (w *Wan) watch(ctx context.Context, f *Fetched, argv []string) error {
	start := time.Now()
	p, err := w.client.Start(filepath.Join(w.dir, "client.log"), argv...)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { err := p.Wait(ctx); f.Took = time.Since(start); ended <- err }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			f.ClientCPU = p.CPU()
			return err
		case <-tick.C:
			f.Peak = max(f.Peak, p.PeakMemory())
		}
	}
}

// Close ends the servers and takes everything away.
func (w *Wan) Close() error {
	for _, n := range w.servers {
		n.Kill()
	}
	var err error
	if w.net != nil {
		err = w.net.Close()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

func hosts(nodes []*Node) (all []*Host) {
	for _, n := range nodes {
		all = append(all, n.Host)
	}
	return all
}
