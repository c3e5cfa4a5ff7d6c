package netlab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
)

// rsyncModule is the name under which an rsync daemon has the content.
const rsyncModule = "content"

// rsyncConf writes the settings of a daemon that gives what lies in a folder, and
// returns their file.
func rsyncConf(dir string) (string, error) {
	path := dir + ".conf"
	conf := fmt.Sprintf("use chroot = no\nuid = root\ngid = root\nreverse lookup = no\n[%s]\npath = %s\nread only = yes\n", rsyncModule, dir)
	return path, os.WriteFile(path, []byte(conf), 0o644)
}

// rsyncAddr is that of a seed's daemon, and rsyncURL that of the content there.
func (s *Swarm) rsyncAddr(seed netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(seed, uint16(s.peerPort(seed)))
}

func (s *Swarm) rsyncURL(seed netip.Addr) string {
	return fmt.Sprintf("rsync://%s/%s/", s.rsyncAddr(seed), rsyncModule)
}

// rsyncArgv is the daemon where there are settings for one, or else an rsync that
// fetches. As a peer it stays when it has everything.
func rsyncArgv(t task) []string {
	if t.conf != "" {
		return []string{"rsync", "--daemon", "--no-detach", "--config=" + t.conf, "--address=" + t.ip, fmt.Sprint("--port=", t.port)}
	}
	return []string{"sh", "-c", `rsync -a "$1" "$2" && "$3" && exec sleep infinity`, "sh", t.from, t.dir, t.hook}
}

// awaitRsync waits until a seed's daemon answers.
func (s *Swarm) awaitRsync(ctx context.Context, seed *Node) error {
	return await(ctx, 50*time.Millisecond, "the rsync daemon answers", func() (bool, error) {
		if err := seed.err(); err != nil {
			return false, err
		}
		nc, err := seed.dial(ctx, "tcp", s.rsyncAddr(seed.IP).String())
		if err != nil {
			return false, nil // not yet
		}
		defer func() { _ = nc.Close() }()
		hello := make([]byte, 8)
		n, err := nc.Read(hello)
		return err == nil && strings.HasPrefix(string(hello[:n]), "@RSYNCD:"), nil
	})
}
