package node

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"distd/pkg/dht"
	"distd/pkg/swarm"
)

// A flood of what is refused is said once, with its reason and whose it was, and
// again only after a while.
func TestRefusalsAreSaidOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	log, now := zap.New(core), time.Now()
	var l refusalLog
	why, mild := string(dht.BadSignature), string(dht.OldSeq)
	see := func(bad, old uint64) {
		refused := map[string]uint64{mild: old}
		if bad > 0 {
			refused[why] = bad
		}
		l.update(log, []SourceStatus{{Name: swarm.SourceDHT, Refused: refused, RefusedOf: map[string]string{why: "10.1.0.9:6881"}}}, now)
	}
	see(0, 0)
	for n := range uint64(100) {
		see(10*(n+1), 0)
		now = now.Add(noteEvery)
	}
	first := logs.TakeAll()
	if len(first) != 1 || first[0].Level != zap.WarnLevel || first[0].ContextMap()["reason"] != why || first[0].ContextMap()["last"] != "10.1.0.9:6881" {
		t.Errorf("said %v", first)
	}
	now = now.Add(refusedEvery)
	see(2000, 1)
	var more uint64
	for _, e := range logs.TakeAll() {
		switch e.ContextMap()["reason"] {
		case why:
			more = e.ContextMap()["since_last_line"].(uint64)
		case mild:
			if e.Level != zap.InfoLevel {
				t.Errorf("%v is %v", mild, e.Level)
			}
		}
	}
	if more != 1990 {
		t.Errorf("said of %d more", more)
	}
}
