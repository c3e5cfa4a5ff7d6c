package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"distd/pkg/metalink"
)

// nginxConf is a server in one process, so that its CPU time can be told.
const nginxConf = `daemon off; master_process off; pid %[1]s.pid; error_log %[1]s.err;
events { worker_connections 1024; }
http { access_log off; sendfile on; server { listen 0.0.0.0:8443 ssl; ssl_certificate %[2]s; ssl_certificate_key %[3]s; root %[4]s; } }
`

// startServer starts the i-th server and returns when it serves the content.
func (w *Wan) startServer(ctx context.Context, i int, key string) error {
	h, err := w.net.Lone(fmt.Sprint("server", i))
	if err != nil {
		return err
	}
	n, err := nodeOn(h, filepath.Join(w.dir, h.Name))
	if err != nil {
		return err
	}
	w.servers = append(w.servers, n)
	if w.spec.Server == "nginx" {
		conf := n.Dir + ".conf"
		text := fmt.Sprintf(nginxConf, n.Dir, w.CA, key, filepath.Dir(w.source))
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			return err
		}
		// It reads the content as nobody.
		if err := os.Chmod(w.dir, 0o755); err != nil {
			return err
		}
		n.argv = []string{"nginx", "-c", conf}
	} else {
		n.argv = []string{w.spec.Distd, "-role=master", "-dir=" + n.Dir, "-listen=0.0.0.0:8443", "-tls-cert=" + w.CA, "-tls-key=" + key}
	}
	if err := n.Start(); err != nil {
		return err
	}
	if err := w.awaitServer(ctx, n); err != nil {
		return err
	}
	if w.spec.Server == "nginx" {
		return nil
	}
	p, err := h.Start(n.Dir+".publish.log", w.spec.Distd, "publish", "-dir="+n.Dir, "-channel="+channelName, w.source)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// awaitServer waits until a server listens.
func (w *Wan) awaitServer(ctx context.Context, n *Node) error {
	return await(ctx, 20*time.Millisecond, n.Name+" listens", func() (bool, error) {
		nc, err := n.dial(ctx, "tcp", "127.0.0.1:8443")
		if err != nil {
			return false, n.err()
		}
		return true, nc.Close()
	})
}

// writeMetalink names all servers as mirrors of one tier.
func (w *Wan) writeMetalink() error {
	file := metalink.File{Name: contentName, Size: w.spec.Size}
	for _, u := range w.URLs {
		file.URLs = append(file.URLs, metalink.URL{URL: u, Priority: 1})
	}
	w.Metalink = filepath.Join(w.dir, contentName+".meta4")
	f, err := os.Create(w.Metalink)
	if err != nil {
		return err
	}
	return errors.Join((&metalink.Document{Files: []metalink.File{file}}).WriteV4(f), f.Close())
}
