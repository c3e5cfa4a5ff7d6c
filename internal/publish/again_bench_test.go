package publish

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkPublishAgain publishes trees of small files once more after a small
// change: one file has other bytes, or there is one file more, which sorts before
// all others, or 20 files are changed, five deleted and a folder of 100 renamed.
func BenchmarkPublishAgain(b *testing.B) {
	for _, files := range []int{10_000, 100_000} {
		size := 32 << 10
		if files > 10_000 {
			size = 10 << 10
		}
		for _, change := range []string{"one", "front", "mixed"} {
			b.Run(fmt.Sprintf("%d/%s", files, change), func(b *testing.B) { publishAgain(b, files, size, change) })
		}
	}
}

func publishAgain(b *testing.B, files, size int, change string) {
	t := newBench(b)
	data := noise(1, files+2*size)
	name := func(i int) string { return fmt.Sprintf("tree/%04d/%06d", i/100, i) }
	rnd := rand.New(rand.NewPCG(1, 2))
	lengths := make([]int, files)
	for i := range lengths {
		lengths[i] = 1 + rnd.IntN(2*size)
	}
	for i := range files {
		t.write(name(i), data[i:i+lengths[i]])
	}
	o := Options{Path: t.src + "/tree", DeltaBases: 1}
	if _, err := t.try(b.Context(), o); err != nil {
		b.Fatal(err)
	}
	n := 0
	apply := func() {
		n++
		switch change {
		case "one":
			t.write(name(files/2), noise(byte(n), lengths[files/2]))
		case "front":
			t.write(fmt.Sprintf("tree/!%d", n), noise(byte(n), size))
		case "mixed":
			for i := range 20 {
				t.write(name((n*31+i*499)%(files/2)), noise(byte(n), size+i))
			}
			for i := range 5 {
				if err := os.Remove(filepath.Join(t.src, name(files/2+n*5+i*1009))); err != nil {
					b.Fatal(err)
				}
			}
			folder := fmt.Sprintf("%s/tree/%04d", t.src, files/100-n)
			if err := os.Rename(folder, folder+"-moved"); err != nil {
				b.Fatal(err)
			}
		}
		time.Sleep(2 * tick)
	}
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		apply()
		start := cpu(b)
		b.StartTimer()
		if _, err := t.try(b.Context(), o); err != nil {
			b.Fatal(err)
		}
		spent += cpu(b) - start
	}
	b.ReportMetric(spent.Seconds()/float64(b.N), "cpu-s/op")
}
