package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"distd/pkg/swarm/bitmap"
)

// tcpPair is two ends of a connection over loopback.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	out, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = out.Close(), in.Close() })
	return out.(*net.TCPConn), in.(*net.TCPConn)
}

func tempFile(t testing.TB, data []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// gate is a stream that takes what is written in steps that the test allows.
type gate struct {
	got  chan []byte
	pass chan int // how much of the write to take; -1 fails
}

func newGate() *gate { return &gate{make(chan []byte), make(chan int)} }

func (g *gate) Write(b []byte) (int, error) {
	g.got <- bytes.Clone(b)
	n := <-g.pass
	if n < 0 {
		return 0, io.ErrClosedPipe
	}
	return min(n, len(b)), nil
}

// TestWriteEveryMessage reads back what each method writes.
func TestWriteEveryMessage(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, WriterConfig{})
	m := bitmap.New(20)
	m.Set(0)
	m.Set(19)
	w.SendBitfield(m)
	w.KeepAlive()
	for _, typ := range []Type{Choke, Unchoke, Interested, NotInterested, HaveAll, HaveNone} {
		w.Send(typ)
	}
	for _, typ := range []Type{Have, Suggest, AllowedFast} {
		w.SendIndex(typ, 19)
	}
	for _, typ := range []Type{Request, Cancel, Reject} {
		w.SendRequest(typ, Block{3, 5, 7})
	}
	w.SendPort(6881)
	w.SendExtended(9, []byte("payload"))
	data := noise(100)
	w.SendBlock(Block{1, 2, 100}, data, nil)
	w.SendFile(Block{2, 3, 50}, tempFile(t, data), 20, nil)
	if c, d := w.Queued(); c == 0 || d != 2*pieceHead+150 {
		t.Errorf("queued %d and %d", c, d)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if c, d := w.Queued(); c != 0 || d != 0 {
		t.Errorf("queued %d and %d after Flush", c, d)
	}
	if w.BytesWritten() != int64(out.Len()) || w.BlockBytes() != 150 {
		t.Errorf("counted %d of %d bytes, %d of blocks", w.BytesWritten(), out.Len(), w.BlockBytes())
	}
	got, err := readAll(NewReader(&out, ReaderConfig{Limits: limits()}))
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	want := []Message{
		{Type: Bitfield, Data: []byte{0x80, 0, 0x10}}, {Type: KeepAlive},
		{Type: Choke}, {Type: Unchoke}, {Type: Interested}, {Type: NotInterested}, {Type: HaveAll}, {Type: HaveNone},
		{Type: Have, Index: 19}, {Type: Suggest, Index: 19}, {Type: AllowedFast, Index: 19},
		{Type: Request, Index: 3, Begin: 5, Length: 7}, {Type: Cancel, Index: 3, Begin: 5, Length: 7}, {Type: Reject, Index: 3, Begin: 5, Length: 7},
		{Type: Port, Port: 6881}, {Type: Extended, ExtID: 9, Data: []byte("payload")},
		{Type: Piece, Index: 1, Begin: 2, Length: 100, Data: data}, {Type: Piece, Index: 2, Begin: 3, Length: 50, Data: data[20:70]},
	}
	if !same(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// TestControlOvertakesData adds a HAVE while blocks are being written: it goes
// out before those that are not begun.
func TestControlOvertakesData(t *testing.T) {
	g := newGate()
	w := NewWriter(g, WriterConfig{Batch: 1})
	for i := range uint32(3) {
		w.SendBlock(Block{i, 0, 100}, noise(100), nil)
	}
	done := make(chan error)
	go func() { done <- w.Flush() }()
	first := <-g.got
	w.SendIndex(Have, 5)
	w.SendRequest(Request, Block{6, 0, 1})
	if w.DropBlock(Block{0, 0, 100}) {
		t.Error("dropped a block that is being written")
	}
	if !w.DropBlock(Block{1, 0, 100}) || w.DropBlock(Block{1, 0, 100}) {
		t.Error("could not drop a block once")
	}
	g.pass <- len(first)
	var rest []byte
	for len(rest) < 9+17+113 {
		b := <-g.got
		rest = append(rest, b...)
		g.pass <- len(b)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, err := readAll(NewReader(bytes.NewReader(append(first, rest...)), ReaderConfig{Limits: limits()}))
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	var types []Type
	for _, m := range got {
		types = append(types, m.Type)
	}
	if !slices.Equal(types, []Type{Piece, Have, Request, Piece}) || got[3].Index != 2 {
		t.Errorf("order %v", types)
	}
}

// TestTCP sends a random mix from memory and from files through a socket with
// small buffers while the other side reads, and compares it all.
func TestTCP(t *testing.T) {
	for name, files := range map[string]bool{"memory": false, "files": true} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			_ = a.SetWriteBuffer(16 << 10)
			w := NewWriter(a, WriterConfig{Timeout: time.Minute})
			data := noise(32 << 10)
			f := tempFile(t, data)
			var released atomic.Int64
			var wg sync.WaitGroup
			const blocks = 500
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(1, 2))
				for i := range uint32(blocks) {
					begin := uint32(rnd.IntN(16 << 10))
					n := 1 + uint32(rnd.IntN(16<<10))
					b := Block{i % 19, begin, n}
					if files && rnd.IntN(4) > 0 {
						w.SendFile(b, f, int64(begin), func() { released.Add(1) })
					} else {
						w.SendBlock(b, data[begin:begin+n], func() { released.Add(1) })
					}
					w.SendIndex(Have, i%20)
					if i%10 == 0 {
						if err := w.Flush(); err != nil {
							t.Error(err)
						}
					}
				}
				if err := w.Flush(); err != nil {
					t.Error(err)
				}
				_ = a.CloseWrite()
			})
			mem := make([]byte, 32<<10)
			r := NewReader(b, ReaderConfig{Limits: limits(), Sink: func(b Block) []byte { return mem[:b.Length] }, Timeout: time.Minute})
			counts := map[Type]int{}
			var m Message
			var err error
			for err = r.Next(&m); err == nil; err = r.Next(&m) {
				counts[m.Type]++
				if m.Type == Piece && !bytes.Equal(m.Data, data[m.Begin:m.Begin+m.Length]) {
					t.Fatalf("block %v differs", m.Block())
				}
			}
			wg.Wait()
			if !errors.Is(err, io.EOF) || counts[Piece] != blocks || counts[Have] != blocks || released.Load() != blocks {
				t.Errorf("%v, %d blocks released: %v", counts, released.Load(), err)
			}
			if !w.SendsFiles() {
				t.Error("plain TCP does not send files")
			}
		})
	}
}

// TestWriterTimesOut and gives everything back when the peer does not read.
func TestWriterTimesOut(t *testing.T) {
	a, _ := tcpPair(t)
	_ = a.SetWriteBuffer(16 << 10)
	w := NewWriter(a, WriterConfig{Timeout: 50 * time.Millisecond})
	var released atomic.Int64
	data := make([]byte, 1<<20)
	for range 20 {
		w.SendBlock(Block{0, 0, 1 << 20}, data, func() { released.Add(1) })
	}
	err := w.Flush()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if released.Load() != 20 {
		t.Errorf("%d of 20 blocks were given back", released.Load())
	}
	w.SendBlock(Block{0, 0, 1}, data[:1], func() { released.Add(1) })
	w.Send(Choke)
	if again := w.Flush(); !errors.Is(again, err) || released.Load() != 21 {
		t.Errorf("second Flush: %v, %d given back", again, released.Load())
	}
	if c, d := w.Queued(); c != 0 || d != 0 {
		t.Errorf("queued %d and %d on a broken connection", c, d)
	}
}

func TestWriterTimesOutWithoutSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer func() { _, _ = a.Close(), b.Close() }()
		w := NewWriter(a, WriterConfig{Timeout: time.Minute})
		w.Send(Choke)
		start := time.Now()
		if err := w.Flush(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestWritePeerGone writes to a connection that the peer has closed.
func TestWritePeerGone(t *testing.T) {
	a, b := tcpPair(t)
	_ = b.SetLinger(0)
	_ = b.Close()
	w := NewWriter(a, WriterConfig{})
	var err error
	for range 1000 {
		w.SendBlock(Block{0, 0, 16 << 10}, make([]byte, 16<<10), nil)
		if err = w.Flush(); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
}

// TestFileTooShort is a file that was cut after its block was queued.
func TestFileTooShort(t *testing.T) {
	f := tempFile(t, noise(100))
	a, b := tcpPair(t)
	go func() { _, _ = io.Copy(io.Discard, b) }()
	for name, out := range map[string]io.Writer{"socket": a, "other": io.Discard} {
		released := false
		w := NewWriter(out, WriterConfig{})
		w.SendFile(Block{0, 0, 200}, f, 0, func() { released = true })
		if err := w.Flush(); !errors.Is(err, io.ErrUnexpectedEOF) || !released {
			t.Errorf("%s: %v, released %v", name, err, released)
		}
	}
}

func TestWriteFails(t *testing.T) {
	g := newGate()
	w := NewWriter(g, WriterConfig{})
	released := 0
	w.SendBlock(Block{0, 0, 10}, noise(10), func() { released++ })
	done := make(chan error)
	go func() { done <- w.Flush() }()
	<-g.got
	g.pass <- 5 // a short write without an error
	if err := <-done; !errors.Is(err, io.ErrShortWrite) || released != 1 {
		t.Errorf("%v, released %d", err, released)
	}
}

// TestBacklog is a peer that makes us answer and does not read.
func TestBacklog(t *testing.T) {
	w := NewWriter(io.Discard, WriterConfig{MaxControl: 1000})
	for range 1000 {
		w.SendRequest(Reject, Block{1, 2, 3})
	}
	if c, _ := w.Queued(); c > 1100 {
		t.Errorf("%d bytes queued", c)
	}
	if err := w.Flush(); !errors.Is(err, ErrBacklog) {
		t.Error(err)
	}
}

func TestDropBlocks(t *testing.T) {
	g := newGate()
	w := NewWriter(g, WriterConfig{Batch: 1})
	var released []uint32
	for i := range uint32(4) {
		w.SendBlock(Block{i, 0, 10}, noise(10), func() { released = append(released, i) })
	}
	done := make(chan error)
	go func() { done <- w.Flush() }()
	b := <-g.got
	if got := w.DropBlocks(); len(got) != 3 || got[0].Index != 1 || len(released) != 3 {
		t.Errorf("dropped %v, released %v", got, released)
	}
	g.pass <- len(b)
	if err := <-done; err != nil || len(released) != 4 {
		t.Errorf("%v, released %v", err, released)
	}
}

// TestDropWhileWaiting drops blocks while a Flush waits for room in the socket.
func TestDropWhileWaiting(t *testing.T) {
	a, b := tcpPair(t)
	_ = a.SetWriteBuffer(16 << 10)
	w := NewWriter(a, WriterConfig{})
	data := make([]byte, 1<<20)
	for i := range uint32(10) {
		w.SendBlock(Block{i, 0, 1 << 20}, data, nil)
	}
	done := make(chan error)
	go func() { done <- w.Flush() }()
	for w.BytesWritten() == 0 {
		runtime.Gosched()
	}
	var dropped []Block
	for len(dropped) < 9 { // some may be marked at the moment of the first try
		dropped = append(dropped, w.DropBlocks()...)
		runtime.Gosched()
	}
	w.Send(Choke)
	n := make(chan int64)
	go func() {
		c, _ := io.Copy(io.Discard, b)
		n <- c
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	if got := <-n; len(dropped) != 9 || got != 1<<20+pieceHead+5 {
		t.Errorf("%d blocks dropped, %d bytes sent", len(dropped), got)
	}
}

// TestCloseDuringFlush must not give memory back while it is being written.
func TestCloseDuringFlush(t *testing.T) {
	g := newGate()
	w := NewWriter(g, WriterConfig{Batch: 1})
	var released atomic.Int64
	for i := range uint32(3) {
		w.SendBlock(Block{i, 0, 10}, noise(10), func() { released.Add(1) })
	}
	done := make(chan error)
	go func() { done <- w.Flush() }()
	b := <-g.got
	w.Close()
	if n := released.Load(); n != 2 {
		t.Errorf("%d blocks given back during the write, want 2", n)
	}
	g.pass <- len(b)
	if err := <-done; !errors.Is(err, ErrClosed) || released.Load() != 3 {
		t.Errorf("%v, released %d", err, released.Load())
	}
	w.Close()
	select {
	case <-w.Pending():
	default:
		t.Error("nobody was told")
	}
}

// TestFileSystemWithoutSendfile falls back to reading and writing.
func TestFileSystemWithoutSendfile(t *testing.T) {
	a, b := tcpPair(t)
	data := noise(32 << 10)
	w := NewWriter(a, WriterConfig{})
	w.raw.noSendfile = true
	w.SendFile(Block{1, 0, 30 << 10}, tempFile(t, data), 100, nil)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := NewReader(b, ReaderConfig{Limits: limits()}).Next(&m); err != nil || !bytes.Equal(m.Data, data[100:100+30<<10]) {
		t.Fatal(err)
	}
}

func TestSendBlockChecksLength(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a block with other data's length was queued")
		}
	}()
	NewWriter(io.Discard, WriterConfig{}).SendBlock(Block{0, 0, 2}, []byte{1}, nil)
}

func TestWriteAllocatesNothing(t *testing.T) {
	w := NewWriter(io.Discard, WriterConfig{})
	data := noise(16 << 10)
	n := testing.AllocsPerRun(200, func() {
		for i := range uint32(4) {
			w.SendIndex(Have, i)
			w.SendRequest(Request, Block{i, 0, 16 << 10})
			w.SendBlock(Block{i, 0, 16 << 10}, data, nil)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for twelve messages", n)
	}
}
