package tracker

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func stateTorrents(t testing.TB, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := parseState(b, func(int64, *torrentState) { n++ }); err != nil {
		t.Fatal(err)
	}
	return n
}

func sampleState(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newStateWriter(&b, 1_700_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		ts := &torrentState{infoHash: testHash(i), completed: uint64(i)}
		for j := range i {
			ts.peers = append(ts.peers, entry{key: testKey(j), id: peerID(j), left: int64(j) - 1, expires: 60})
		}
		if err := w.torrent(ts); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withSum puts the right checksum under a state file's body.
func withSum(body []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}

func TestStateSurvivesRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	s, clk := newTestServer(t, Config{StateFile: file})
	s.Allow(testHash(1), "x")
	s.Allow(testHash(2), "y")
	ask{hash: 1, id: 1, left: 5}.do(t, s)
	ask{hash: 1, id: 2, left: 5}.do(t, s)
	ask{hash: 1, id: 2, left: 0, extra: "&event=completed"}.do(t, s)
	ask{hash: 1, id: 3, left: 0, from: "[fd00::3]:1"}.do(t, s)
	ask{hash: 2, id: 3, left: 5}.do(t, s)
	if err := s.saveState(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v %v", info.Mode(), err)
	}
	clk.add(10 * time.Minute) // away
	s, _ = newTestServer(t, Config{StateFile: file, Now: clk.now})
	if got := (ask{hash: 1, id: 9}).body(t, s); !strings.Contains(got, "not served") {
		t.Errorf("a torrent is served that nobody allowed: %q", got)
	}
	s.Allow(testHash(1), "x")
	r := ask{hash: 1, id: 9, left: 5}.do(t, s)
	if got := addrs(r.Peers); len(got) != 3 || !got["10.0.0.1:7000"] || !got["[fd00::3]:7000"] {
		t.Errorf("peers %v", got)
	}
	if st, _ := s.Torrent(testHash(1)); st.Completed != 1 || st.Seeds != 2 {
		t.Errorf("%+v", st)
	}
	clk.add(14 * time.Minute) // being away counted for nobody
	s.sweep()
	if n := s.Stats().Peers; n != 5 {
		t.Errorf("%d peers", n)
	}
	clk.add(2 * time.Minute) // torrent 2 was never allowed again, and its peer is over
	s.sweep()
	if st := s.Stats(); st.Torrents != 1 || st.Peers != 0 {
		t.Errorf("%+v", st)
	}
}

func TestStateOfLongAgo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	s, clk := newTestServer(t, Config{Open: true, StateFile: file})
	ask{hash: 1, id: 1, left: 0, extra: "&event=completed"}.do(t, s)
	if err := s.saveState(); err != nil {
		t.Fatal(err)
	}
	clk.add(24 * time.Hour)
	s, _ = newTestServer(t, Config{Open: true, StateFile: file, Now: clk.now})
	if st, _ := s.Torrent(testHash(1)); st.Completed != 1 || st.Seeds != 0 {
		t.Errorf("%+v", st)
	}
}

func TestStateIsBoundedOnLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	s, clk := newTestServer(t, Config{Open: true, StateFile: file})
	for i := range 100 {
		ask{hash: 1, id: i, left: 5}.do(t, s)
	}
	if err := s.saveState(); err != nil {
		t.Fatal(err)
	}
	s, _ = newTestServer(t, Config{Open: true, StateFile: file, Now: clk.now, MaxPeersPerTorrent: 10})
	if n := s.Stats().Peers; n != 10 {
		t.Errorf("%d peers", n)
	}
}

func TestDamagedStateIsSetAside(t *testing.T) {
	good := sampleState(t)
	flipped := bytes.Clone(good)
	flipped[40] ^= 1
	newer := bytes.Clone(good)
	newer[11] = 9
	for name, data := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "flipped": flipped, "newer": newer,
		"text": []byte("this is not a state file but some text that lies there"),
	} {
		file := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zap.WarnLevel)
		s, _ := newTestServer(t, Config{StateFile: file, Log: zap.New(core)})
		if st := s.Stats(); st.Torrents != 0 || logs.Len() != 1 {
			t.Errorf("%s: %+v, %d warnings", name, st, logs.Len())
		}
		if aside, err := os.ReadFile(file + ".damaged"); err != nil || !bytes.Equal(aside, data) {
			t.Errorf("%s: not set aside: %v", name, err)
		}
	}
}

func TestStateThatCannotBeReadIsAnError(t *testing.T) {
	if _, err := NewServer(Config{StateFile: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestFailedSaveKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state")
	s, _ := newTestServer(t, Config{Open: true, StateFile: file})
	ask{hash: 1, id: 1}.do(t, s)
	if err := s.saveState(); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.saveState(); err != nil { // nothing has changed
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("unchanged state was written again (%v)", err)
	}
	ask{hash: 2, id: 1}.do(t, s)
	s.cfg.StateFile = filepath.Join(dir, "no", "state")
	if err := s.saveState(); err == nil {
		t.Fatal("saved into a folder that is not there")
	}
	s.cfg.StateFile = file
	if err := s.saveState(); err != nil { // tried again though nothing changed since
		t.Fatal(err)
	}
	if n := stateTorrents(t, file); n != 2 {
		t.Errorf("%d torrents", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*state?*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStateStructureIsCheckedBehindTheSum(t *testing.T) {
	good := sampleState(t)
	body := good[:len(good)-4]
	peers := bytes.Clone(body)
	binary.BigEndian.PutUint32(peers[stateHead+29:], 1<<31)
	count := bytes.Clone(body)
	count[len(count)-1]++
	for name, b := range map[string][]byte{"peers": peers, "count": count, "end": body[:len(body)-5], "trailing": append(bytes.Clone(body), 'x')} {
		called := false
		if err := parseState(withSum(b), func(int64, *torrentState) { called = true }); err == nil || called {
			t.Errorf("%s: error %v, used: %v", name, err, called)
		}
	}
}

func FuzzState(f *testing.F) {
	good := sampleState(f)
	f.Add(good[:len(good)-4])
	f.Add(good[:stateHead])
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, body []byte) {
		file := withSum(body) // else the sum stops everything
		var first []torrentState
		err := parseState(file, func(_ int64, ts *torrentState) {
			c := *ts
			c.peers = append([]entry(nil), ts.peers...)
			first = append(first, c)
			for _, p := range ts.peers {
				if p.key.port() == 0 || p.left < -1 || p.expires < 0 || p.key.addr() == (netip.Addr{}) {
					t.Fatalf("impossible peer %+v", p)
				}
			}
		})
		if err != nil {
			return
		}
		var b bytes.Buffer
		w, _ := newStateWriter(&b, 0)
		for i := range first {
			_ = w.torrent(&first[i])
		}
		_ = w.close()
		var second []torrentState
		if err := parseState(b.Bytes(), func(_ int64, ts *torrentState) {
			c := *ts
			c.peers = append([]entry(nil), ts.peers...)
			second = append(second, c)
		}); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("written again it is different: %v\n%v\n%v", err, first, second)
		}
	})
}
