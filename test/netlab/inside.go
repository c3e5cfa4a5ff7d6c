package netlab

import (
	"net"
	"os"
	"path/filepath"
)

// ListenPacket opens a socket on the host, as net.ListenPacket does here.
func (h *Host) ListenPacket(network, addr string) (pc net.PacketConn, err error) {
	err = h.within(func() (err error) {
		pc, err = net.ListenPacket(network, addr)
		return err
	})
	return pc, err
}

// Listen opens a listener on the host, as net.Listen does here.
func (h *Host) Listen(network, addr string) (ln net.Listener, err error) {
	err = h.within(func() (err error) {
		ln, err = net.Listen(network, addr)
		return err
	})
	return ln, err
}

// netnsFolder has what ip netns exec puts over files of /etc: see ip-netns(8).
const netnsFolder = "/etc/netns"

// SetResolver has programs that are run on the host by Exec find conf in
// /etc/resolv.conf. The switch takes it away when it is closed.
func (h *Host) SetResolver(conf string) error {
	dir := filepath.Join(netnsFolder, h.namespace)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(conf), 0o644)
}

// forgetFiles takes away what SetResolver has made. The folder of all stays, as
// others may have something there.
func (h *Host) forgetFiles() error { return os.RemoveAll(filepath.Join(netnsFolder, h.namespace)) }
