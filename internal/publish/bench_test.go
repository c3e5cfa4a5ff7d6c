package publish

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkPublish publishes a file of 256 MiB. Beside the rate it reports the
// processor time for each GiB, to be put beside that of other tools.
func BenchmarkPublish(b *testing.B) {
	const size = 256 << 20
	for _, method := range []Method{Copy, InPlace} {
		b.Run(string(method), func(b *testing.B) {
			t := newBench(b)
			file := t.write("f", noise(1, size))
			benchmark(b, t, Options{Path: file, InPlace: method == InPlace}, size)
		})
	}
}

// BenchmarkPublishTree publishes 20,000 files of 4 KiB.
func BenchmarkPublishTree(b *testing.B) {
	const files, size = 20_000, 4 << 10
	t := newBench(b)
	data := noise(1, files+size)
	for i := range files {
		t.write(fmt.Sprintf("tree/%03d/%d", i/100, i), data[i:i+size])
	}
	benchmark(b, t, Options{Path: t.src + "/tree"}, files*size)
}

func benchmark(b *testing.B, t *bench, o Options, size int64) {
	o.Force = true
	b.SetBytes(size)
	start := cpu(b)
	for b.Loop() {
		res, err := t.try(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(res.Dir + "/content"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric((cpu(b)-start).Seconds()/float64(b.N)*(1<<30)/float64(size), "cpu-s/GiB")
}

// cpu is the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
