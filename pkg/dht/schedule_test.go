package dht

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedule(2)
		var order list[int]
		var busy atomic.Int32
		var most list[int32]
		add := func(i int, again time.Duration) func() {
			return s.add(func(context.Context) time.Duration {
				order.add(i)
				most.add(busy.Add(1))
				time.Sleep(time.Second)
				busy.Add(-1)
				return again
			})
		}
		for i := range 6 {
			add(i, time.Hour)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.run(ctx); close(done) }()
		time.Sleep(10 * time.Second)
		got := order.all()
		for i := 0; i < 6; i += 2 { // two at a time begin in any order
			slices.Sort(got[i : i+2])
		}
		if !slices.Equal(got, []int{4, 5, 2, 3, 0, 1}) || slices.Max(most.all()) != 2 {
			t.Errorf("%v, %v at once", got, most.all())
		}
		s.hurry(time.Second)
		time.Sleep(10 * time.Second)
		if n := len(order.all()); n != 12 {
			t.Errorf("%d runs after hurry", n)
		}
		time.Sleep(30 * time.Minute)
		if n := len(order.all()); n != 12 {
			t.Errorf("%d runs within half an hour", n)
		}
		time.Sleep(time.Hour)
		if n := len(order.all()); n != 18 {
			t.Errorf("%d runs after an hour", n)
		}
		remove := add(7, time.Minute)
		add(8, -1)
		time.Sleep(10 * time.Second)
		remove()
		time.Sleep(10 * time.Minute)
		if n := len(order.all()); n != 20 {
			t.Errorf("%d runs, though one was removed and one is done for good", n)
		}
		cancel()
		<-done
	})
}

// A job that is hurried while it runs is done again.
func TestScheduleHurriesWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedule(1)
		var runs atomic.Int32
		s.add(func(context.Context) time.Duration {
			runs.Add(1)
			time.Sleep(time.Second)
			return time.Hour
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.run(ctx)
		time.Sleep(500 * time.Millisecond)
		s.hurry(time.Second)
		time.Sleep(10 * time.Second)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d runs", n)
		}
		cancel()
	})
}

func TestMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mailbox[int]{max: 3}
		var got list[int]
		spawn := func(f func(context.Context)) { go f(t.Context()) }
		read := func(v []int) {
			got.add(v...)
			time.Sleep(time.Second)
		}
		m.put(spawn, read, 0)
		synctest.Wait()
		for i := range 5 {
			m.put(spawn, read, i+1)
		}
		time.Sleep(time.Minute)
		if all := got.all(); !slices.Equal(all, []int{0, 3, 4, 5}) {
			t.Errorf("%v", all)
		}
		m.put(spawn, read, 6)
		synctest.Wait()
		m.put(spawn, read, 7)
		m.close()
		m.put(spawn, read, 8)
		time.Sleep(time.Minute)
		if all := got.all(); !slices.Equal(all, []int{0, 3, 4, 5, 6}) {
			t.Errorf("%v after close", all)
		}
	})
}

func TestBackoff(t *testing.T) {
	b := backoff{first: time.Second, last: 5 * time.Second}
	for _, want := range []time.Duration{1, 2, 4, 5, 5} {
		if got := b.wait(); got != want*time.Second {
			t.Errorf("%v, want %d s", got, want)
		}
	}
	if b.reset(); b.wait() != time.Second {
		t.Error("not reset")
	}
	for range 100 {
		if j := jitter(time.Minute); j < 54*time.Second || j > 66*time.Second {
			t.Errorf("%v is no minute more or less", j)
		}
	}
}
