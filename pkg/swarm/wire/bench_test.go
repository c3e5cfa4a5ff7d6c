package wire

import (
	"fmt"
	"net"
	"os"
	"testing"
)

// BenchmarkLoopback sends blocks over one connection: from memory and from a
// file, plain and encrypted.
func BenchmarkLoopback(b *testing.B) {
	for _, size := range []int{16 << 10, 128 << 10} {
		for _, how := range []string{"memory", "file", "rc4"} {
			b.Run(fmt.Sprintf("%s/%dKiB", how, size>>10), func(b *testing.B) { loopback(b, size, how) })
		}
	}
}

func loopback(b *testing.B, size int, how string) {
	x, y := tcpPair(b)
	var from, to net.Conn = x, y
	if how == "rc4" {
		out, in := both(Require, Require)
		d, l := shake(x, y, out, in)
		if d.err != nil || l.err != nil {
			b.Fatal(d.err, l.err)
		}
		from, to = d.s.Conn, l.s.Conn
	}
	data := make([]byte, 1<<20)
	var f *os.File
	if how == "file" {
		f = tempFile(b, data)
	}
	l := Limits{Pieces: 1, PieceLength: 1 << 20, Total: 1 << 20, MaxBlock: 1 << 20}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan error)
	go func() {
		w := NewWriter(from, WriterConfig{})
		for i := range b.N {
			begin := uint32(i*size) & (1<<20 - 1)
			block := Block{0, begin, uint32(size)}
			if f != nil {
				w.SendFile(block, f, int64(begin), nil)
			} else {
				w.SendBlock(block, data[begin:int(begin)+size], nil)
			}
			if _, n := w.Queued(); n >= 512<<10 || i == b.N-1 {
				if err := w.Flush(); err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	mem := make([]byte, 1<<20)
	r := NewReader(to, ReaderConfig{Limits: l, Sink: func(b Block) []byte { return mem[b.Begin : b.Begin+b.Length] }})
	var m Message
	for range b.N {
		if err := r.Next(&m); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReadControl(b *testing.B) {
	r := NewReader(&loop{b: frame(Have, u32(3)...)}, ReaderConfig{Limits: limits()})
	b.ReportAllocs()
	var m Message
	for b.Loop() {
		if err := r.Next(&m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAcceptMSE(b *testing.B) {
	for b.Loop() {
		x, y := net.Pipe()
		out, in := both(Require, Require)
		if d, l := shake(x, y, out, in); d.err != nil || l.err != nil {
			b.Fatal(d.err, l.err)
		}
		_, _ = x.Close(), y.Close()
	}
}
