package bttrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/pkg/tracker"
)

// Bounds of what is kept. Peers take some 150 bytes each.
const (
	maxPeers    = 2_000_000
	maxTorrents = 100_000
	maxConns    = 20_000
)

// Tracker is a tracker with its sockets. Reload may be called at any time.
type Tracker struct {
	opts    *Options
	version string
	log     *zap.Logger
	server  *tracker.Server
	tcp     []net.Listener
	udp     []net.PacketConn
	favicon []byte
	again   chan struct{} // asks watch to look

	allowed, banned         atomic.Pointer[addrSet]
	allowedList, bannedList addrList // these and the next three: New, then watch
	listFile                watched
	folder                  folder
	reported                map[string]string

	mu     sync.Mutex
	served map[infoHash]served
}

// New reads the dfile, folder and lists, and opens the sockets. It writes the
// dfile, so that one that cannot be written is an error of the start.
func New(o *Options, version string, log *zap.Logger) (*Tracker, error) {
	t := &Tracker{opts: o, version: version, log: log, again: make(chan struct{}, 1), reported: map[string]string{},
		allowedList: addrList{watched{path: o.AllowedIPs}, parseSubnet}, bannedList: addrList{watched{path: o.BannedIPs}, parseRange},
		listFile: watched{path: o.AllowedList}, folder: folder{dir: o.AllowedDir}}
	for _, w := range o.Warnings {
		log.Warn(w)
	}
	err := t.read()
	if err == nil {
		err = t.listen()
	}
	if err == nil { // now that no other tracker can have the dfile
		err = wrap("write dfile "+o.Dfile, t.server.Save())
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// read reads all files. The address lists come first: they hold for the dfile's
// peers too.
func (t *Tracker) read() (err error) {
	o := t.opts
	if o.Favicon != "" {
		if t.favicon, err = readFile(o.Favicon, 1<<20); err != nil {
			return fmt.Errorf("favicon: %w", err)
		}
	}
	if err := t.lookAddrs(); err != nil {
		return err
	}
	if t.server, err = tracker.NewServer(t.config()); err != nil {
		return err
	}
	return t.lookTorrents()
}

// config is that of the tracker behind the sockets.
func (t *Tracker) config() tracker.Config {
	o := t.opts
	dfile := o.Dfile
	if real, err := filepath.EvalSymlinks(dfile); err == nil {
		dfile = real // what is replaced is the file and not the link
	}
	return tracker.Config{
		Interval: o.Interval, MinInterval: o.Interval, Expiry: o.Expiry, SaveInterval: o.Save, TargetRate: o.Rate,
		DefaultWant: o.MaxPeers, MaxWant: o.MaxPeers, MaxPeers: maxPeers, MaxPeersPerTorrent: maxPeers, MaxTorrents: maxTorrents,
		Open: o.AllowedDir == "" && o.AllowedList == "", KeepDead: o.KeepDead, Admit: t.admit,
		StateFile: dfile, Log: t.log,
		Bttrack: &tracker.Bttrack{
			CompactRequired: o.CompactRequired, ScrapeOne: o.ScrapeOne, ScrapeAll: o.ScrapeAll, ScrapeNames: o.ShowNames,
			GivenAddr: t.believes,
		},
	}
}

// listen opens a socket of each kind on every address.
func (t *Tracker) listen() error {
	tcp, udp, binds := "tcp4", "udp4", t.opts.Bind
	if len(binds) == 0 {
		binds = []string{""}
	}
	if t.opts.IPv6 || t.opts.Bind != nil {
		tcp, udp = "tcp", "udp"
	}
	for _, host := range binds {
		addr := net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(t.opts.Port))
		lc := net.ListenConfig{KeepAlive: -1, Control: deferAccept} // connections are short
		ln, err := lc.Listen(context.Background(), tcp, addr)
		if err != nil {
			return listenError(err)
		}
		t.tcp = append(t.tcp, ln)
		if !t.opts.UDP {
			continue
		}
		// Port 0 is any: both take the same one.
		pc, err := net.ListenPacket(udp, net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)))
		if err != nil {
			return listenError(err)
		}
		t.udp = append(t.udp, pc)
	}
	return nil
}

// listenError says what to do about an address that cannot be had.
func listenError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: end the program that has the port, or choose another with -port", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 want root or CAP_NET_BIND_SERVICE", err)
	}
	return err
}

// Addr is the first address that is listened on.
func (t *Tracker) Addr() net.Addr { return t.tcp[0].Addr() }

// Run answers until ctx ends or a socket fails, and saves the dfile at the end.
func (t *Tracker) Run(ctx context.Context) error {
	defer t.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.server.Run(ctx) })
	g.Go(func() error { return t.watch(ctx) })
	front := tracker.Front{Rest: t.handler(), HeadTimeout: t.opts.HeadTimeout, IdleTimeout: t.opts.IdleTimeout, MaxConns: openable()}
	for _, ln := range t.tcp {
		g.Go(func() error { return t.server.ServeTCP(ctx, ln, front) })
	}
	for _, pc := range t.udp {
		g.Go(func() error { return t.server.ServeUDP(ctx, pc) })
	}
	t.log.Info("distd tracker is up", zap.String("version", t.version), zap.Stringer("listen", t.Addr()), zap.Bool("udp", t.opts.UDP),
		zap.String("dfile", t.opts.Dfile), zap.Int("peers", t.server.Stats().Peers))
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // without systemd it does nothing
	err := g.Wait()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	return err
}

// Reload has folder and lists looked at now.
func (t *Tracker) Reload() {
	select {
	case t.again <- struct{}{}:
	default: // it is about to
	}
}

// openable is how many connections may be open: what the limit of open files
// allows, less what else is needed.
func openable() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur > maxConns+100 {
		return maxConns
	}
	return max(int(l.Cur)-100, 10)
}

// close closes what New opened; most of it has been closed by those that used it.
func (t *Tracker) close() {
	for _, ln := range t.tcp {
		_ = ln.Close()
	}
	for _, pc := range t.udp {
		_ = pc.Close()
	}
}

// LogFile is a log file that can be opened again, for those who rotate it.
type LogFile struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

// OpenLog opens a log file to be written at its end.
func OpenLog(path string) (*LogFile, error) {
	l := &LogFile{path: path}
	return l, l.Reopen()
}

// Reopen goes on with the file that is at the path now.
func (l *LogFile) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.f
	l.f = f
	if old != nil {
		return old.Close()
	}
	return nil
}

// Write writes a line.
func (l *LogFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(b)
}

// Close closes the file.
func (l *LogFile) Close() error { return l.f.Close() }
