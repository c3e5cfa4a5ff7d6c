package picker

import "slices"

// Exempt notes that a peer is itself a directing seed, with the given ID: it is
// left out of the reveals and has a part of the pieces.
func (p *Picker) Exempt(pe *Peer, id uint64) {
	if pe.view.exempt {
		return
	}
	if p.dir != nil {
		p.dir.forget(pe) // what it has is no copy among the leaves
	}
	pe.view.exempt, pe.view.id = true, id
	if p.dir != nil {
		p.dir.others = append(p.dir.others, pe)
		p.share()
	}
}

// Partners is the number of other directing seeds that the pieces are split with.
func (p *Picker) Partners() int {
	if p.dir == nil {
		return 0
	}
	return len(p.dir.others)
}

// share decides anew which pieces belong to this directing seed, after one came
// or left.
func (p *Picker) share() {
	d := p.dir
	d.others = slices.DeleteFunc(d.others, func(o *Peer) bool { return o.gone })
	for i := range d.keys {
		switch foreign := !p.without(Splitting) && d.foreign(i); {
		case foreign && d.keys[i]&1 == 0:
			d.up(i)
		case !foreign && d.keys[i]&1 == 1:
			d.down(i)
		}
	}
}

// foreign reports whether the piece belongs to another seed: the one whose ID
// gives the greatest hash with the piece has it (rendezvous hashing), so that
// all agree without a word and a seed that comes or goes moves its pieces only.
func (d *director) foreign(piece int) bool {
	mine := weigh(d.id, piece)
	return slices.ContainsFunc(d.others, func(o *Peer) bool { return weigh(o.view.id, piece) > mine })
}

// weigh mixes an ID and a piece number (the finaliser of SplitMix64).
func weigh(id uint64, piece int) uint64 {
	x := id ^ (uint64(piece)+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// pickReveal is the piece to show the leaf next, or -1.
func (p *Picker) pickReveal(pe *Peer) int {
	if !p.without(FewestFirst) {
		return p.dir.pick(pe)
	}
	found := -1
	each(p.have, p.all, p.rng.IntN(len(p.have)), func(i int) bool {
		if _, shown := pe.view.revealed[i]; !shown && !pe.have.has(i) {
			found = i
		}
		return found < 0
	})
	return found
}
