package metainfo

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkCreate makes the torrent of a file of 256 MiB.
func BenchmarkCreate(b *testing.B) {
	dir := b.TempDir()
	write(b, dir+"/f", pattern(1, 256<<20))
	benchmark(b, dir+"/f")
}

// BenchmarkCreateTree makes the torrent of 20,000 files of 4 to 64 KiB.
func BenchmarkCreateTree(b *testing.B) {
	dir := b.TempDir()
	data := pattern(1, 1<<20)
	for i := range 20_000 {
		off := i * 37 % (len(data) - 64<<10)
		write(b, fmt.Sprintf("%s/tree/%03d/%05d", dir, i/200, i), data[off:off+4<<10+i*7919%(60<<10)])
	}
	benchmark(b, dir+"/tree")
}

func benchmark(b *testing.B, path string) {
	start := cpu(b)
	for b.Loop() {
		m, err := Create(b.Context(), Options{Path: path, PieceLength: 256 << 10})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(m.Layout.Total)
	}
	b.ReportMetric((cpu(b)-start).Seconds()/float64(b.N), "cpu-s/op")
}

// cpu is the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
