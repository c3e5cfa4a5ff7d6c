package swarm

import "sync"

// job is a whole piece on its way to the disk.
type job struct {
	t      *Torrent
	piece  int
	length int
	data   *[]byte
	ok     bool  // verified
	err    error // of the disk
	again  bool  // the disk has refused it before
}

// workQueue hands whole pieces to the workers that verify and write them. Its
// length is bounded by the budget that the pieces take.
type workQueue struct {
	mu      sync.Mutex
	ready   sync.Cond
	jobs    []*job
	stopped bool
}

func newWorkQueue() *workQueue {
	q := &workQueue{}
	q.ready.L = &q.mu
	return q
}

func (q *workQueue) push(j *job) {
	q.mu.Lock()
	q.jobs = append(q.jobs, j)
	q.mu.Unlock()
	q.ready.Signal()
}

func (q *workQueue) pop() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.jobs) == 0 && !q.stopped {
		q.ready.Wait()
	}
	if q.stopped {
		return nil
	}
	j := q.jobs[0]
	q.jobs[0] = nil
	q.jobs = q.jobs[1:]
	return j
}

func (q *workQueue) stop() {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	q.ready.Broadcast()
}

// run works until stop.
func (q *workQueue) run(b *budget) {
	for j := q.pop(); j != nil; j = q.pop() {
		j.do(b)
		j.t.post(verifiedEvent{j})
	}
}

// do verifies the piece, unless that has been done, and writes it.
func (j *job) do(b *budget) {
	if !j.again {
		j.ok = j.t.spec.Verify(j.piece, *j.data)
	}
	if j.ok {
		j.err = j.t.spec.Store.WritePiece(j.piece, *j.data)
	}
	if !j.ok || j.err == nil {
		b.freeBuffer(j.data)
		j.data = nil
	}
}
