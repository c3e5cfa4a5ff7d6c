package pieces

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"distd/pkg/swarm/pieces/piecestest"
)

// TestLease: a file on which another program has a lease, as a Samba server may,
// is waited for.
func TestLease(t *testing.T) {
	r := piecestest.NewRelease(64, 64)
	p := newPlace(t, "")
	s := filled(t, p.config(r), r)
	s.CloseIdle()
	f, err := os.OpenFile(filePath(p, r, 0), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no leases here: %v", err)
	}
	given := make(chan error, 1)
	go func() {
		for { // until the kernel asks for it
			kind, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0)
			if err != nil || kind != unix.F_WRLCK {
				_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
				given <- err
				return
			}
			unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
		}
	}()
	piecestest.CheckPiece(t, s, r, 0)
	if err := <-given; err != nil {
		t.Error(err)
	}
}
