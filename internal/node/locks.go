package node

import "sync"

// locks are mutexes by name, made when they are needed and kept.
type locks struct {
	mu sync.Mutex
	by map[string]*sync.Mutex
}

// of returns the mutex of the name.
func (l *locks) of(name string) *sync.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, ok := l.by[name]
	if !ok {
		if l.by == nil {
			l.by = map[string]*sync.Mutex{}
		}
		m = &sync.Mutex{}
		l.by[name] = m
	}
	return m
}

// lock locks the mutex of the name, and returns what unlocks it.
func (l *locks) lock(name string) (unlock func()) {
	m := l.of(name)
	m.Lock()
	return m.Unlock
}
