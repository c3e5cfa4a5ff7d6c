package serve

import (
	"container/list"
	"sync"
)

// lru keeps the values used last, up to a sum of weights.
type lru[K comparable, V any] struct {
	mu      sync.Mutex
	max     int64
	weight  int64
	order   *list.List // of *lruItem, the newest in front
	entries map[K]*list.Element
}

type lruItem[K comparable, V any] struct {
	key    K
	value  V
	weight int64
}

func newLRU[K comparable, V any](maxWeight int64) *lru[K, V] {
	return &lru[K, V]{max: maxWeight, order: list.New(), entries: map[K]*list.Element{}}
}

func (c *lru[K, V]) get(key K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true
}

// put keeps the value unless it is heavier than all of the cache.
func (c *lru[K, V]) put(key K, v V, weight int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.remove(e)
	}
	if weight > c.max {
		return
	}
	c.entries[key] = c.order.PushFront(&lruItem[K, V]{key: key, value: v, weight: weight})
	c.weight += weight
	for c.weight > c.max {
		c.remove(c.order.Back())
	}
}

func (c *lru[K, V]) remove(e *list.Element) {
	it := e.Value.(*lruItem[K, V])
	c.order.Remove(e)
	delete(c.entries, it.key)
	c.weight -= it.weight
}
