package picker

// Yield makes room on the link for a torrent of more use: while it is on, no more
// than one block is under way from each peer. Torrents share a full link by how
// much of each is under way, so that the other one gets most of it; what room it
// leaves is used.
func (p *Picker) Yield(on bool) {
	if p.yields && !on {
		p.MarkAll()
	}
	p.yields = on
}
