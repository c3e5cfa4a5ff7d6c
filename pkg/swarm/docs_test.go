package swarm

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

var someRelease = strings.Repeat("0123456789abcdef", 4)

const myDocs = 6 // the number under which the tests want documents

// greetDocs says that the enemy speaks of documents, and returns what the victim
// says of itself.
func (e *enemy) greetDocs() *wire.ExtHandshake {
	e.t.Helper()
	hello := wire.ExtHandshake{M: map[string]uint8{wire.ExtDocs: myDocs}}
	h, err := wire.DecodeExtHandshake(e.ask(0, hello.Encode(), 0))
	if err != nil {
		e.t.Fatal(err)
	}
	return h
}

// docsPart asks for a part of the documents.
func (e *enemy) docsPart(part int) *wire.MetadataMsg {
	e.t.Helper()
	m := wire.MetadataMsg{Kind: wire.MetadataRequest, Piece: part}
	answer, err := wire.DecodeDocs(e.ask(extDocs, m.Encode(), myDocs), 0)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer
}

func TestDocumentsAreServed(t *testing.T) {
	docs := infoOf(2*wire.MetadataBlock + 777)
	con := newContent(t, 300<<10, 64<<10)
	e := newEnemy(t, seedOf(t, con, nil, docs), con)
	h := e.greetDocs()
	if h.M[wire.ExtDocs] != extDocs || h.Distd.Release != someRelease {
		t.Errorf("handshake %+v (%+v)", h, h.Distd)
	}
	var got []byte
	for part := range wire.MetadataParts(len(docs)) {
		m := e.docsPart(part)
		if m.Kind != wire.MetadataData || m.Piece != part || m.TotalSize != len(docs) {
			t.Fatalf("answer to part %d: kind %d, part %d, %d bytes in all", part, m.Kind, m.Piece, m.TotalSize)
		}
		got = append(got, m.Data...)
	}
	if !bytes.Equal(got, docs) {
		t.Error("the documents have changed")
	}
	if m := e.docsPart(3); m.Kind != wire.MetadataReject {
		t.Errorf("part 3 of 3 was answered with kind %d", m.Kind)
	}
	for range maxMetaServed * 3 {
		e.docsPart(0)
	}
	if m := e.docsPart(0); m.Kind != wire.MetadataReject {
		t.Error("documents are served without end")
	}
}

func TestDocumentsThatAreNotHere(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	e := newEnemy(t, startNode(t, con, nodeOptions{}), con)
	if h := e.greetDocs(); h.M[wire.ExtDocs] != 0 || h.Distd.Release != "" {
		t.Errorf("handshake %+v (%+v)", h, h.Distd)
	}
	if m := e.docsPart(0); m.Kind != wire.MetadataReject {
		t.Errorf("answered with kind %d", m.Kind)
	}
}

// They are loaded when they are asked for and forgotten soon after, also with no
// peer left.
func TestDocumentsAreForgotten(t *testing.T) {
	docs := infoOf(100)
	con := newContent(t, 300<<10, 64<<10)
	var loads atomic.Int32
	seed := startNode(t, con, nodeOptions{seed: true, change: func(c *Config) { c.docsTime = 100 * time.Millisecond }, spec: func(s *Spec) {
		s.Documents = func() ([]byte, error) { loads.Add(1); return docs, nil }
	}})
	for i := range int32(2) {
		e := newEnemyCalled(t, fmt.Sprint("evil", i), seed, con)
		e.greetDocs()
		for range 3 {
			if m := e.docsPart(0); m.Kind != wire.MetadataData {
				t.Fatalf("answered with kind %d", m.Kind)
			}
		}
		if n := loads.Load(); n < 1+i {
			t.Errorf("loaded %d times", n)
		}
		if i > 0 {
			_ = e.nc.Close()
		}
		eventually(t, 10*time.Second, "the documents are forgotten", func() (gone bool) {
			seed.tor.call(func() { gone = seed.tor.docs.blob == nil })
			return gone
		})
		if n := seed.e.shelf.bytes; n != 0 {
			t.Errorf("%d bytes are held for nobody", n)
		}
	}
}

// Documents that have changed are not sent as they were, also when they change while
// they are loaded.
func TestDocumentsThatChange(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	var size atomic.Int32
	size.Store(100)
	begun, loaded := make(chan struct{}), make(chan struct{})
	seed := startNode(t, con, nodeOptions{seed: true, spec: func(s *Spec) {
		s.Documents = func() ([]byte, error) {
			n := int(size.Load())
			if n == 200 {
				begun <- struct{}{}
				<-loaded
			}
			return infoOf(n), nil
		}
	}})
	e := newEnemy(t, seed, con)
	e.greetDocs()
	want := func(n int) {
		t.Helper()
		if m := e.docsPart(0); m.Kind != wire.MetadataData || m.TotalSize != n {
			t.Fatalf("answered with kind %d, %d bytes; want %d", m.Kind, m.TotalSize, n)
		}
	}
	change := func(n int32) {
		size.Store(n)
		seed.tor.ReloadDocuments()
		seed.tor.call(func() {})
	}
	want(100)
	change(200)
	go func() {
		<-begun
		change(300)
		close(loaded)
	}()
	want(300)
}

func TestDocumentsThatCannotBeLoaded(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	for name, load := range map[string]func() ([]byte, error){
		"error":   func() ([]byte, error) { return nil, errors.New("no such file") },
		"nothing": func() ([]byte, error) { return nil, nil },
		"large":   func() ([]byte, error) { return make([]byte, wire.DefaultMaxDocs+1), nil },
	} {
		var loads atomic.Int32
		e := newEnemy(t, startNode(t, con, nodeOptions{seed: true, spec: func(s *Spec) {
			s.Documents = func() ([]byte, error) { loads.Add(1); return load() }
		}}), con)
		e.greetDocs()
		for range 5 {
			if m := e.docsPart(0); m.Kind != wire.MetadataReject {
				t.Errorf("%s: answered with kind %d", name, m.Kind)
			}
		}
		if n := loads.Load(); n != 1 {
			t.Errorf("%s: tried %d times", name, n)
		}
	}
}

// While documents are being loaded the torrent does its work, and of a peer's
// requests only a few wait.
func TestDocumentsThatLoadSlowly(t *testing.T) {
	docs := infoOf(100)
	con := newContent(t, 300<<10, 64<<10)
	loaded := make(chan struct{})
	seed := seedOf(t, con, nil, docs, func(s *Spec) {
		s.Documents = func() ([]byte, error) { <-loaded; return docs, nil }
	})
	e := newEnemy(t, seed, con)
	e.greetDocs()
	request := wire.MetadataMsg{Kind: wire.MetadataRequest}
	for range 10 * maxDocsWaiting {
		e.w.SendExtended(extDocs, request.Encode())
	}
	e.flush()
	leaf := startNode(t, con, nodeOptions{})
	leaf.knows(seed)
	leaf.wait(20 * time.Second)
	eventually(t, 10*time.Second, "requests wait", func() (waits bool) {
		seed.tor.call(func() {
			for _, c := range seed.tor.conns {
				waits = waits || len(c.docsWaiting) == maxDocsWaiting
			}
		})
		return waits
	})
	close(loaded)
	_ = e.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	var m wire.Message
	for sent, refused := 0, 0; sent == 0 || refused < 9*maxDocsWaiting; {
		if err := e.r.Next(&m); err != nil {
			t.Fatalf("%d sent, %d refused: %v", sent, refused, err)
		}
		if m.Type != wire.Extended || m.ExtID != myDocs {
			continue
		}
		if d, err := wire.DecodeDocs(m.Data, 0); err == nil && d.Kind == wire.MetadataData {
			sent++
		} else {
			refused++
		}
	}
}

// Fifty peers that ask for all of it and read nothing hold little memory.
func TestDocumentsAreNotPiledUp(t *testing.T) {
	const peers, size = 50, 30 << 20
	var loads atomic.Int32
	con := newContent(t, 300<<10, 64<<10)
	seed := seedOf(t, con, nil, nil, func(s *Spec) {
		s.Documents = func() ([]byte, error) { loads.Add(1); return make([]byte, size), nil }
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range peers {
		e := newEnemyCalled(t, fmt.Sprintf("evil%02d", i), seed, con)
		e.greetDocs()
		for part := range wire.MetadataParts(size) {
			m := wire.MetadataMsg{Kind: wire.MetadataRequest, Piece: part}
			e.w.SendExtended(extDocs, m.Encode())
		}
		e.w.SendIndex(wire.Have, 1) // by which the end is known
		e.flush()
	}
	eventually(t, 60*time.Second, "all requests are handled", func() (done bool) {
		seed.tor.call(func() {
			n := 0
			for _, c := range seed.tor.conns {
				if control, _ := c.w.Queued(); control > 2*maxMetaWaiting {
					t.Errorf("%d bytes wait for a peer that does not read", control)
				}
				if c.pe.Has(1) {
					n++
				}
			}
			done = n == peers || len(seed.tor.conns) < peers
		})
		return done
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > size+peers*3*maxMetaWaiting {
		t.Errorf("%d MiB are held", grown>>20)
	}
	if n := loads.Load(); n != 1 {
		t.Errorf("loaded %d times", n)
	}
}

// The documents of many torrents share a bound: those that were loaded first go.
func TestDocumentsOfManyTorrents(t *testing.T) {
	const size = maxDocsHeld/2 - 1
	load := func(s *Spec) { s.Documents = func() ([]byte, error) { return make([]byte, size), nil } }
	var cons []*content
	for i := range 4 {
		cons = append(cons, newContent(t, (200+i)<<10, 64<<10))
	}
	node := startNode(t, cons[0], nodeOptions{spec: load})
	tors := []*Torrent{node.tor}
	for _, con := range cons[1:] {
		tors = append(tors, node.also(con, false, load).tor)
	}
	for _, con := range cons {
		e := newEnemy(t, node, con)
		e.greetDocs()
		if m := e.docsPart(0); m.Kind != wire.MetadataData {
			t.Fatalf("answered with kind %d", m.Kind)
		}
	}
	eventually(t, 10*time.Second, "the first make room", func() bool {
		held := 0
		for _, tor := range tors {
			tor.call(func() { held += len(tor.docs.blob) })
		}
		return held <= maxDocsHeld
	})
	if err := tors[3].Close(); err != nil {
		t.Fatal(err)
	}
	node.e.shelf.mu.Lock()
	defer node.e.shelf.mu.Unlock()
	if n := node.e.shelf.bytes; n > size {
		t.Errorf("%d bytes are held after a torrent was closed", n)
	}
}
