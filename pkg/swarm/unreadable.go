package swarm

import (
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/wire"
)

// A piece that is here but cannot be read, because the disk fails or somebody
// cut the file, must not be offered: peers would ask for it for ever, and a
// directing seed's reveals of it would never be freed. It is taken back until
// it has been read and verified again.

// firstRecheck is after what time a piece that could not be read is read again;
// each further time doubles it, up to Config.recheckEvery.
const firstRecheck = 500 * time.Millisecond

// errChanged is why a piece that can be read is not offered.
var errChanged = errors.New("bytes on the disk are not the piece's")

// diskFault reports whether an error of sending a block was that of the file it
// came from, and not of the connection.
func diskFault(err error) bool {
	var p *os.PathError
	return errors.As(err, &p) || errors.Is(err, syscall.EIO) || errors.Is(err, io.ErrUnexpectedEOF)
}

// unreadableEvent says that one of the blocks could not be read.
type unreadableEvent struct {
	blocks []wire.Block
	err    error
}

func (ev unreadableEvent) apply(t *Torrent) {
	if t.ended {
		return
	}
	t.disk.errors++
	t.careful.Store(true)
	t.disk.err = ev.err
	hidden := 0
	for _, b := range ev.blocks {
		i := int(b.Index)
		if _, known := t.broken[i]; known || !t.pick.Has(i) {
			continue
		}
		t.broken[i] = time.Time{}
		t.served.clear(i)
		t.pick.Hide(i)
		hidden++
	}
	if hidden == 0 {
		return
	}
	say := t.log.Debug
	if len(t.broken) == hidden { // the first tells what to do
		say = t.log.Error
	}
	say("piece cannot be read or is damaged; such pieces are not offered until they are right again: check the disk and the release's files",
		zap.Uint32("piece", ev.blocks[0].Index), zap.Error(ev.err))
	for _, c := range slices.Clone(t.conns) {
		if !c.s.Fast {
			t.drop(c, ev.err) // it cannot be told in another way
		}
	}
	t.pick.MarkAll()
	t.tickBroken(time.Now())
}

// tickBroken looks, at one piece at a time, whether what could not be read can
// be read now.
func (t *Torrent) tickBroken(now time.Time) {
	if t.looking || t.ended {
		return
	}
	for i, due := range t.broken {
		if now.After(due) {
			t.looking = t.e.spawn(func() { t.post(lookedEvent{i, t.look(i)}) })
			return
		}
	}
}

// look reads and verifies a piece that is on the disk.
func (t *Torrent) look(i int) error {
	b := make([]byte, t.spec.Layout.PieceSize(i))
	if err := t.spec.Store.ReadAt(b, i, 0); err != nil {
		return err
	}
	if !t.spec.Verify(i, b) {
		return errChanged
	}
	return nil
}

// lookedEvent says whether a piece can be read again.
type lookedEvent struct {
	piece int
	err   error
}

func (ev lookedEvent) apply(t *Torrent) {
	t.looking = false
	i := ev.piece
	defer func() { t.tickBroken(time.Now()) }()
	if t.ended || !t.pick.Has(i) {
		delete(t.broken, i)
		return
	}
	if ev.err != nil {
		t.disk.err = ev.err
		// Soon at first: what was in the way may have been a moment's.
		if now := time.Now(); now.Sub(t.rechecked) >= t.recheck {
			t.recheck = min(max(2*t.recheck, firstRecheck), t.e.cfg.recheckEvery)
			t.rechecked = now
		}
		t.broken[i] = time.Now().Add(t.recheck)
		if d, ok := t.spec.Store.(interface{ Drop(piece int) }); ok && !t.durable() {
			d.Drop(i)
			t.lose(i)
			t.log.Error("piece is lost on the disk; fetching it again", zap.Int("piece", i), zap.Error(ev.err))
		}
		return
	}
	delete(t.broken, i)
	for other := range t.broken {
		t.broken[other] = time.Time{} // whatever helped this one may have helped all
	}
	t.served.set(i)
	t.pick.Readable(i, t.now())
	if len(t.broken) == 0 {
		t.recheck = 0
	}
	if len(t.broken) == 0 && !t.disk.stuck() {
		t.log.Info("pieces can be read again")
		t.disk.err = nil
		t.careful.Store(false)
	}
}

// lose takes a piece for missing again.
func (t *Torrent) lose(i int) {
	delete(t.broken, i)
	if !t.pick.Has(i) {
		return
	}
	t.served.clear(i)
	t.pick.Lost(i)
	if t.spec.Want == nil || t.spec.Want(i) {
		t.left.Add(t.spec.Layout.PieceSize(i))
	}
	t.signalChanged()
}

// Doubt treats pieces as unreadable, because whoever calls has read other bytes
// than theirs: they are not offered until they have been read and verified
// again. It does not wait.
func (t *Torrent) Doubt(pieces []int, reason error) {
	blocks := make([]wire.Block, 0, len(pieces))
	for _, i := range pieces {
		if i >= 0 && i < t.spec.Layout.NumPieces() {
			blocks = append(blocks, wire.Block{Index: uint32(i)})
		}
	}
	if len(blocks) > 0 {
		t.post(unreadableEvent{blocks, reason})
	}
}

// Recheck reads pieces that could not be read, or are doubted, again now and
// not when their time has come: something was done about them.
func (t *Torrent) Recheck() {
	t.post(callEvent(func(t *Torrent) {
		for i := range t.broken {
			t.broken[i] = time.Time{}
		}
		t.tickBroken(time.Now())
	}))
}
