package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/names"
	"distd/internal/publish"
	"distd/internal/store"
	"distd/internal/watch"
)

// The control socket speaks HTTP. Who may connect to it, by the rights of the
// socket's file, may do all that the daemon may.
const (
	controlDir  = ".distd"
	controlName = "control.sock"
)

// controlPath names the socket through a descriptor of its folder: the path of
// a socket is limited to some 100 bytes, that of a node's folder is not.
func controlPath(dir string) (path string, done func(), err error) {
	f, err := os.Open(filepath.Join(dir, controlDir))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), controlName), func() { _ = f.Close() }, nil
}

// listenControl makes the control socket. The store's lock is held, so that a
// socket which is there was left behind.
func listenControl(dir string) (net.Listener, error) {
	path, done, err := controlPath(dir)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // its path names a descriptor that is closed by then
	if err := os.Chmod(path, 0o660); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return ln, nil
}

func (n *Node) serveControl(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, n.Status()) })
	mux.HandleFunc("POST /v1/publish", n.controlPublish)
	mux.HandleFunc("POST /v1/rollback", n.controlRollback)
	mux.HandleFunc("POST /v1/verify", n.controlVerify)
	mux.HandleFunc("POST /v1/limits", n.controlLimits)
	mux.HandleFunc("POST /v1/watch", n.controlWatch)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(n.control); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone when it fails
}

// codeHeader carries the exit code of an error over the control socket.
const codeHeader = "Distd-Exit-Code"

func refuse(w http.ResponseWriter, err error) {
	w.Header().Set(codeHeader, strconv.Itoa(ExitCode(err)))
	http.Error(w, err.Error(), http.StatusConflict)
}

// PublishRequest is what `distd publish` asks a running master for.
type PublishRequest struct {
	Path        string   `json:"path"`
	Channel     string   `json:"channel"`
	Name        string   `json:"name,omitempty"`
	InPlace     bool     `json:"in_place,omitempty"`
	MD5         bool     `json:"md5,omitempty"`
	Checksum    bool     `json:"checksum,omitempty"` // read all files
	PieceLength int64    `json:"piece_length,omitempty"`
	Exclude     []string `json:"exclude,omitempty"`    // patterns of what is left out
	MaxDelete   string   `json:"max_delete,omitempty"` // as in the configuration
	DryRun      bool     `json:"dry_run,omitempty"`    // only say what would change
	Announce    []string `json:"announce,omitempty"`
	Mirrors     []string `json:"mirrors,omitempty"`
	// After is the channel's newest release where this one will be put too.
	After *manifest.Pointer `json:"after,omitempty"`
	// KeyFile holds the secret key to sign with, "" for the folder's own. A
	// running master takes no other than its own.
	KeyFile string `json:"-"`

	watched *watch.Request // by which the master publishes by itself
}

// PublishEvent is a line of the answer: progress, then a result or an error.
type PublishEvent struct {
	Done   int64           `json:"done,omitempty"`
	Total  int64           `json:"total,omitempty"`
	Result *publish.Result `json:"result,omitempty"`
	// Changes is the result of a dry run.
	Changes *publish.Changes `json:"changes,omitempty"`
	Error   string           `json:"error,omitempty"`
	Code    int              `json:"code,omitempty"` // exit code that goes with the error
}

func (n *Node) controlPublish(w http.ResponseWriter, r *http.Request) {
	var req PublishRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &eventWriter{w: w, c: http.NewResponseController(w)}
	var ev PublishEvent
	var err error
	if req.DryRun {
		ev.Changes, err = n.PlanPublish(r.Context(), req, out.progress)
	} else {
		ev.Result, err = n.Publish(r.Context(), req, out.progress)
	}
	if err != nil {
		out.send(PublishEvent{Error: err.Error(), Code: ExitCode(err)})
		return
	}
	out.send(ev)
}

// eventWriter writes events as lines of JSON, progress at most ten times a
// second.
type eventWriter struct {
	mu   sync.Mutex
	w    io.Writer
	c    *http.ResponseController
	last time.Time
}

func (e *eventWriter) progress(done, total int64) {
	e.mu.Lock()
	skip := time.Since(e.last) < 100*time.Millisecond
	if !skip {
		e.last = time.Now()
	}
	e.mu.Unlock()
	if !skip {
		e.send(PublishEvent{Done: done, Total: total})
	}
}

func (e *eventWriter) send(ev PublishEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// A client that is gone ends the request's context, which ends the publish.
	_ = json.NewEncoder(e.w).Encode(ev)
	_ = e.c.Flush()
}

// Publish publishes on a running master and tells everybody who listens.
func (n *Node) Publish(ctx context.Context, req PublishRequest, progress func(done, total int64)) (*publish.Result, error) {
	if n.role != config.RoleMaster {
		return nil, &codedError{ExUsage, fmt.Errorf("this node is a %s: publish on the master", n.role)}
	}
	n.publishMu.Lock()
	defer n.publishMu.Unlock()
	o, err := PublishOptions(n.cfg.Load(), req)
	if err != nil {
		return nil, err
	}
	o.Progress, o.Log = progress, n.log.Named("publish")
	// An error is that there is no room; the publish finds out by itself.
	o.MakeRoom = func(need int64) { _ = n.makeRoom(ctx, need) }
	o.Announce = func(r *store.Release) { n.announce(ctx, r.Manifest.Channel, r.ID) }
	res, err := publishNow(ctx, n.store, n.signing, o)
	if err != nil {
		return nil, err
	}
	n.ownMagnet(res)
	if req.watched == nil {
		n.publishedByHand(req.Channel, req.Path)
	}
	if res.Unchanged {
		n.log.Info("nothing new to publish", zap.String("channel", res.Channel), zap.Uint64("serial", res.Serial))
		return res, nil
	}
	fields := []zap.Field{zap.String("channel", res.Channel), zap.Uint64("serial", res.Serial), zap.String("name", res.Name), zap.String("release", res.ID), zap.Int64("bytes", res.Size)}
	if req.watched != nil {
		fields = append(fields, zap.String("because", req.watched.Because))
	}
	n.log.Info("published", fields...)
	n.prune(context.WithoutCancel(ctx))
	return res, nil
}

// published brings a new release to those who wait for it, and drops old ones.
func (n *Node) published(ctx context.Context, channel, id string) {
	n.announce(ctx, channel, id)
	n.prune(context.WithoutCancel(ctx))
}

// announce brings a new release to those who wait for it.
func (n *Node) announce(ctx context.Context, channel, id string) {
	if n.engine != nil {
		n.releases.want(ctx, id)
	} else {
		n.tell(channel)
	}
}

// publishNow publishes. What is refused for no reason of the system, such as a
// name that breaks a rule, is the source's fault.
func publishNow(ctx context.Context, st *store.Store, key manifest.PrivateKey, o publish.Options) (*publish.Result, error) {
	res, err := publish.Publish(ctx, st, key, o)
	if err != nil {
		return nil, coded(ExDataErr, err)
	}
	for _, channel := range st.Channels() {
		if _, _, p, err := st.Pointer(channel); err == nil && channel != res.Channel && p.Name == res.Name {
			res.Notes = append(res.Notes, fmt.Sprintf("channel %s has releases named %s too: a node that follows both makes only one of them live; -name gives another name", channel, res.Name))
		}
	}
	return res, nil
}

// openStore opens a node's folder, which is made when it is missing.
func openStore(dir string, log *zap.Logger) (*store.Store, error) {
	st, err := store.Open(dir, log)
	if errors.Is(err, fs.ErrNotExist) { // as below /proc
		err = &codedError{ExCantCreat, err}
	}
	return st, err
}

// OpenExisting opens the store of a folder that is a node's already: for
// commands that must not make one of a mistyped name.
func OpenExisting(dir string) (*store.Store, error) {
	if _, err := os.Stat(filepath.Join(dir, controlDir)); err != nil {
		return nil, fmt.Errorf("%s is no node's folder: %w", dir, err)
	}
	return openStore(dir, zap.NewNop())
}

// PublishOptions joins a request with the configuration of the master; cfg may
// be nil when there is none.
func PublishOptions(cfg *config.Config, req PublishRequest) (publish.Options, error) {
	o := publish.Options{Path: req.Path, Channel: req.Channel, Name: req.Name, InPlace: req.InPlace, MD5: req.MD5, Checksum: req.Checksum, Exclude: req.Exclude, PieceLength: req.PieceLength, After: req.After, DeltaBases: config.Default().Deltas}
	if w := req.watched; w != nil {
		o.LeaveOut, o.Confirm, o.SkipUnreadable = w.LeaveOut, w.Confirm, cfg.WatchUnreadable == "skip"
	}
	if err := names.Channel(req.Channel); err != nil {
		return o, coded(ExUsage, err)
	}
	maxDelete := req.MaxDelete
	if cfg != nil {
		maxDelete = cmp.Or(maxDelete, cfg.MaxDelete)
	}
	limit, err := config.ParseDeletions(cmp.Or(maxDelete, config.Default().MaxDelete))
	if err != nil {
		return o, coded(ExUsage, err)
	}
	o.MaxDelete = (*publish.MaxDelete)(limit)
	announce, mirrors := req.Announce, req.Mirrors
	if cfg != nil {
		o.PublicURL, o.Expires, o.DeltaBases = cfg.PublicURL, cfg.Expires, cfg.Deltas
		if len(announce) == 0 {
			announce = cfg.Announce
		}
		if len(mirrors) == 0 {
			mirrors = cfg.Mirror
		}
	}
	for _, a := range announce {
		o.Trackers = append(o.Trackers, []string{a})
	}
	lines, err := config.ParseMirrors(mirrors)
	if err != nil {
		return o, coded(ExUsage, err)
	}
	for _, m := range lines {
		o.Mirrors = append(o.Mirrors, publishMirror(m))
	}
	return o, nil
}

// Control is the client of a daemon's control socket.
type Control struct{ http *http.Client }

// ErrNoDaemon says that no daemon runs on a folder.
var ErrNoDaemon = errors.New("no daemon runs here")

// DialControl returns a client for the daemon that runs on dir, or ErrNoDaemon.
func DialControl(dir string) (*Control, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, done, err := controlPath(dir)
		if err != nil {
			return nil, err
		}
		defer done()
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	c, err := dial(context.Background(), "", "")
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("control socket of %s: %w; run this as the daemon's user or in its group", dir, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: start it, or name its folder with -dir", dir, ErrNoDaemon)
	}
	_ = c.Close()
	return &Control{&http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Status returns the daemon's status.
func (c *Control) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, func(d *json.Decoder) error { return d.Decode(s) })
}

// Publish has the daemon publish, and reports progress on the way.
func (c *Control) Publish(ctx context.Context, req PublishRequest, progress func(done, total int64)) (*publish.Result, error) {
	req.DryRun = false
	ev, err := c.publish(ctx, req, progress)
	return ev.Result, err
}

// PlanPublish has the daemon say what a publish would change.
func (c *Control) PlanPublish(ctx context.Context, req PublishRequest, progress func(done, total int64)) (*publish.Changes, error) {
	req.DryRun = true
	ev, err := c.publish(ctx, req, progress)
	return ev.Changes, err
}

func (c *Control) publish(ctx context.Context, req PublishRequest, progress func(done, total int64)) (last PublishEvent, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/publish", req, func(d *json.Decoder) error {
		for {
			var ev PublishEvent
			if err := d.Decode(&ev); err != nil {
				return fmt.Errorf("the master ended during the publish; nothing was made visible: %w", err)
			}
			switch {
			case ev.Error != "":
				return &codedError{ev.Code, errors.New(ev.Error)}
			case ev.Result != nil || ev.Changes != nil:
				last = ev
				return nil
			case progress != nil:
				progress(ev.Done, ev.Total)
			}
		}
	})
	return last, err
}

func (c *Control) call(ctx context.Context, method, path string, body any, read func(*json.Decoder) error) error {
	pr, pw := io.Pipe()
	go func() { _ = pw.CloseWithError(json.NewEncoder(pw).Encode(body)) }()
	defer func() { _ = pr.Close() }()
	req, err := http.NewRequestWithContext(ctx, method, "http://distd"+path, pr)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		code, _ := strconv.Atoi(resp.Header.Get(codeHeader))
		return &codedError{code, fmt.Errorf("the daemon refuses: %s", bytes.TrimSpace(text))}
	}
	return read(json.NewDecoder(resp.Body))
}
