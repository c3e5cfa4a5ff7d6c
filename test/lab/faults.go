package main

import (
	"fmt"
	"strings"
	"time"

	"distd/test/netlab"
	"distd/test/netlab/hostile"
)

// fault is a fault that the lab can make.
type fault struct {
	name, help string
	do         netlab.Fault
	hostile    bool // a hostile peer of the fault's name takes part
	seeds      int  // that it wants at least
	leaves     int  // that it wants at least
}

// tolerance is how much longer the honest leaves may take because of a hostile
// peer.
const tolerance = 1.5

var faults = []fault{
	{name: "seed-killed-after-one-copy", help: "the seed is killed once every piece lies somewhere among the leaves", do: netlab.SeedKilledAfterOneCopy},
	{name: "seed-killed-60", help: "the seed is killed when 60 % have left it, and comes back when all leaves have what any of them has", do: netlab.SeedKilledAt60},
	{name: "leaves-restarted", help: "three leaves are killed at half and started again 2 s later", do: netlab.LeavesRestarted(3, 2*time.Second), leaves: 3},
	{name: "cable", help: "a leaf's cable is unplugged at half, for 20 s", do: netlab.CableOut(20 * time.Second)},
	{name: "two-seeds-one-killed", help: "one of two seeds is killed when they have sent 30 %", do: netlab.OneSeedKilled, seeds: 2},
	{name: hostile.BadBlocks, help: "a peer claims all and sends bad bytes", hostile: true},
	{name: hostile.NeverAnswers, help: "a peer claims all, takes requests and never answers", hostile: true},
	{name: hostile.ClaimsAll, help: "a peer claims all and rejects every request", hostile: true},
	{name: hostile.RevealAndChoke, help: "a peer tells of pieces and chokes, in turns", hostile: true},
}

func parseFaults(s string) ([]fault, error) {
	switch s {
	case "":
		return nil, nil
	case "all":
		return faults, nil
	}
	var chosen []fault
next:
	for name := range strings.SplitSeq(s, ",") {
		for _, f := range faults {
			if f.name == name {
				chosen = append(chosen, f)
				continue next
			}
		}
		return nil, fmt.Errorf("there is no fault %q; lab swarm -help lists them", name)
	}
	return chosen, nil
}
