package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// serials are the serials of the channel's complete releases.
func serials(s *Store, channel string) (out []uint64) {
	for _, r := range s.Releases() {
		if r.Manifest.Channel == channel {
			out = append(out, r.Manifest.Serial)
		}
	}
	return out
}

// kib is a single-file release of so many KiB, made so many days before now.
func kib(channel string, serial uint64, size int, text string) *fixture {
	return makeFixture(channel, channel+".bin", serial, map[string]string{channel + ".bin": strings.Repeat(text, size<<10/len(text))})
}

// six publishes serials 1 to 6 of 64 KiB each; on a node they are live one after
// the other, so that 5 is the previous one.
func six(t *testing.T, s *Store, channel string, live bool) {
	t.Helper()
	for i := uint64(1); i <= 6; i++ {
		f := kib(channel, i, 64, fmt.Sprintf("%016d", i))
		if live {
			publish(t, s, f)
			continue
		}
		complete(t, s, f)
		data, sig, p := f.pointer()
		check(t, s.SetPointer(channel, data, sig, p))
	}
}

func TestPruneByRules(t *testing.T) {
	now := time.Unix(1_700_000_006, 0) // of serial 6; each is a second older than the next
	for name, c := range map[string]struct {
		live  bool
		rules Rules // Bytes are halves of what one release takes
		want  []uint64
	}{
		"no limits":                         {true, Rules{Keep: 9}, []uint64{1, 2, 3, 4, 5, 6}},
		"count":                             {true, Rules{Keep: 3}, []uint64{4, 5, 6}},
		"count never below two":             {true, Rules{Keep: 1}, []uint64{5, 6}},
		"age":                               {true, Rules{Keep: 9, Age: 3 * time.Second}, []uint64{3, 4, 5, 6}},
		"age spares live and previous":      {true, Rules{Keep: 9, Age: time.Millisecond}, []uint64{5, 6}},
		"bytes":                             {true, Rules{Keep: 9, Bytes: 9}, []uint64{3, 4, 5, 6}},
		"bytes spare live and previous":     {true, Rules{Keep: 9, Bytes: 1}, []uint64{5, 6}},
		"the strictest counts":              {true, Rules{Keep: 5, Age: 3 * time.Second, Bytes: 20}, []uint64{3, 4, 5, 6}},
		"a master's count":                  {false, Rules{Keep: 1}, []uint64{6}},
		"a master's age spares the two new": {false, Rules{Keep: 9, Age: time.Millisecond}, []uint64{5, 6}},
		"a master's bytes as well":          {false, Rules{Keep: 9, Bytes: 1}, []uint64{5, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			six(t, s, "web", c.live)
			six(t, s, "other", c.live) // each channel by itself
			c.rules.Now, c.rules.Bytes = now, c.rules.Bytes*s.Usage().Total/12/2
			_, err := s.PruneBy(t.Context(), c.rules, nil)
			check(t, err)
			for _, channel := range []string{"web", "other"} {
				if got := serials(s, channel); !slices.Equal(got, c.want) {
					t.Errorf("%s: kept %v, want %v", channel, got, c.want)
				}
			}
		})
	}
}

// TestPruneBytesCountsLinksOnce: releases that share their content take its
// space once, and removing one of them frees nothing.
func TestPruneBytesCountsLinksOnce(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	const size = 1 << 20
	var first string
	for i := uint64(1); i <= 5; i++ {
		f := kib("web", i, size>>10, "0123456789abcdef")
		r, err := s.Stage(f.m, f.id, f.meta)
		check(t, err)
		check(t, f.fetch(r))
		name := filepath.Join(r.ContentRoot(), "web.bin")
		if i > 1 {
			check(t, os.Remove(name))
			check(t, os.Link(first, name))
		}
		r, err = s.Commit(t.Context(), f.id)
		check(t, err)
		first = filepath.Join(r.ContentRoot(), "web.bin")
		data, sig, p := f.pointer()
		check(t, s.SetPointer("web", data, sig, p))
		_, err = s.Activate(t.Context(), f.id)
		check(t, err)
	}
	use := s.Usage()
	if use.Total < size || use.Total > 2*size {
		t.Errorf("five links take %d bytes, want one file of %d", use.Total, size)
	}
	for id, n := range use.Freed {
		if n > size/4 {
			t.Errorf("removing %s alone would free %d", id, n)
		}
	}
	_, err := s.PruneBy(t.Context(), Rules{Keep: 9, Bytes: 2 * size}, nil)
	check(t, err)
	if got := serials(s, "web"); len(got) != 5 {
		t.Errorf("kept %v of five that take one", got)
	}
	// The last with the content frees it, its live name included.
	f := kib("web", 6, 4, "x")
	publish(t, s, f)
	removed, err := s.Free(t.Context(), func(freed int64) bool { return freed >= size }, nil)
	check(t, err)
	if len(removed) != 4 || s.Usage().Total < size { // the previous one stays, and has it
		t.Errorf("removed %d releases, %d bytes are left", len(removed), s.Usage().Total)
	}
}

// TestFreeOldestFirst: of all channels, no more than is needed, and nothing that
// is live, previous or busy.
func TestFreeOldestFirst(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	six(t, s, "web", true)
	six(t, s, "other", true)
	busy := ""
	for _, r := range s.Releases() {
		if r.Manifest.Channel == "other" && r.Manifest.Serial == 1 {
			busy = r.ID
		}
	}
	need := s.Usage().Total / 12 * 5 / 2
	removed, err := s.Free(t.Context(), func(freed int64) bool { return freed >= need }, func(id string) bool { return id == busy })
	check(t, err)
	if len(removed) != 3 || !slices.Contains(serials(s, "other"), 1) || slices.Contains(serials(s, "web"), 1) {
		t.Errorf("removed %d, left %v and %v", len(removed), serials(s, "web"), serials(s, "other"))
	}
	_, err = s.Free(t.Context(), func(int64) bool { return false }, nil)
	check(t, err)
	if got := [][]uint64{serials(s, "web"), serials(s, "other")}; !slices.Equal(got[0], []uint64{5, 6}) || !slices.Equal(got[1], []uint64{5, 6}) {
		t.Errorf("with no end of need %v are left", got)
	}
	if removed, err := s.Free(t.Context(), func(int64) bool { return false }, nil); err != nil || len(removed) > 0 {
		t.Errorf("and then %v, %v", removed, err)
	}
}
