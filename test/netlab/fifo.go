package netlab

import "time"

// fifo is what is on its way over a line, the next to arrive first. It uses its
// memory again: a fast line has some tens of thousands of pieces a second.
type fifo struct {
	parcels []parcel // those from head on are on their way
	head    int
	small   [][]byte // free, for one packet
	large   [][]byte // free, for any piece
}

type parcel struct {
	due  time.Duration
	data []byte
}

// smallPacket is room for a packet of 1500 bytes.
const smallPacket = 2048

// push adds a piece. Fill appends its bytes.
func (f *fifo) push(due time.Duration, size int, fill func([]byte) []byte) {
	free, room := &f.small, smallPacket
	if size > smallPacket {
		free, room = &f.large, vnetHeader+maxPacket
	}
	var b []byte
	if n := len(*free); n > 0 {
		b, *free = (*free)[n-1][:0], (*free)[:n-1]
	} else {
		b = make([]byte, 0, room)
	}
	if f.head > 1024 && f.head > len(f.parcels)/2 {
		f.parcels = f.parcels[:copy(f.parcels, f.parcels[f.head:])]
		f.head = 0
	}
	f.parcels = append(f.parcels, parcel{due, fill(b)})
}

// next says when the first piece arrives.
func (f *fifo) next() (time.Duration, bool) {
	if f.head == len(f.parcels) {
		return 0, false
	}
	return f.parcels[f.head].due, true
}

// front is the first piece.
func (f *fifo) front() []byte { return f.parcels[f.head].data }

// pop takes the first piece away.
func (f *fifo) pop() {
	b := f.front()
	f.parcels[f.head].data = nil
	f.head++
	if cap(b) == smallPacket {
		f.small = append(f.small, b)
	} else {
		f.large = append(f.large, b)
	}
}
