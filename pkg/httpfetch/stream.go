package httpfetch

import (
	"cmp"
	"io"
	"math"
	"net/http"
	"slices"
	"time"
)

// stream downloads from a server without ranges: whole files, from their first
// byte, of which the claimed pieces are kept.
func (l *lane) stream() error {
	for {
		for {
			r := l.f.nextRun(l, len(l.runs) == 0)
			if r == nil {
				break
			}
			l.f.wanted(r)
		}
		if len(l.runs) == 0 {
			return nil
		}
		l.f.sortRuns(l)
		for i, file := range l.f.lay.Files {
			if !l.f.wantsFile(l, i) {
				continue
			}
			if err := l.file(i, file.Length); err != nil {
				return err
			}
		}
	}
}

// file downloads one whole file.
func (l *lane) file(i int, size int64) error {
	u, err := l.m.fileURL(l.m.base, l.f.lay.Files[i].Path)
	if err != nil {
		return &fault{class: absent, err: err}
	}
	a := &ask{file: i, n: size, size: size, url: u, known: l.m.expected(i)}
	l.asks = append(l.asks[:0], a)
	if err := l.send(a); err != nil {
		return l.noAnswer(a, err)
	}
	l.f.waiting(l)
	resp, err := l.conn.receive(http.MethodGet, l.f.cfg.HeaderTimeout)
	if err != nil {
		return l.noAnswer(a, err)
	}
	if isRedirect(resp.StatusCode) {
		return faultf(absent, "redirect to %s from a server without ranges", clip(resp.Header.Get("Location")))
	}
	want := wanted{n: size, size: size, known: a.known, noRanges: true}
	if err := checkResponse(resp, want, time.Now()); err != nil {
		return err
	}
	l.f.accepted(l, a, validatorOf(resp.Header))
	l.closing = resp.Close
	l.slow = slowness{since: time.Now()}
	if err := l.sift(a, resp.Body); err != nil {
		return err
	}
	l.asks = l.asks[:0]
	l.conn.answers++
	if l.closing {
		return errCut
	}
	return nil
}

// sift reads a whole file and keeps what is claimed of it.
func (l *lane) sift(a *ask, body io.Reader) error {
	var spare [32 << 10]byte
	for left := a.n; left > 0; {
		l.deadline()
		at := l.f.lay.Offset(a.file) + a.size - left
		skip := l.f.skip(l, at, left)
		dst := spare[:min(skip, int64(len(spare)))]
		if skip == 0 {
			a.run = l.runs[0]
			dst, _ = l.f.window(l, a.run, left)
		} else if skip == left {
			return errCut // nothing more is wanted of this file
		}
		n, err := body.Read(dst)
		left -= int64(n)
		switch {
		case n > 0 && skip > 0:
			l.f.wasted(l, int64(n))
			if err := wait(l.ctx, l.f.cfg.Limiter, n); err != nil {
				return err
			}
		case n > 0:
			if err := l.got(a, n); err != nil {
				return err
			}
		}
		if err != nil && left > 0 {
			return l.broken(err, left)
		}
	}
	if n, _ := body.Read(spare[:1]); n > 0 {
		return faultf(liar, "body is longer than the file")
	}
	return nil
}

// wanted notes that a run's bytes come without being asked for by range, so that
// nextRun goes on to the next gap.
func (f *Fetcher) wanted(r *run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.asked = math.MaxInt64
}

// sortRuns puts a lane's runs in the order of their bytes.
func (f *Fetcher) sortRuns(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(l.runs, func(a, b *run) int { return cmp.Compare(a.pos, b.pos) })
}

// wantsFile says whether a run of the lane has bytes in file i.
func (f *Fetcher) wantsFile(l *lane, i int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	off := f.lay.Offset(i)
	for _, r := range l.runs {
		if r.pos < off+f.lay.Files[i].Length && off < r.end {
			return true
		}
	}
	return false
}

// skip is how many of the left bytes at an offset come before the next run.
func (f *Fetcher) skip(l *lane, at, left int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(l.runs) == 0 {
		return left
	}
	return max(0, min(l.runs[0].pos-at, left))
}
