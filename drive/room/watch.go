package room

import "maps"

// Watch calls fn after each transaction that changed something, never inside
// one. fn must be quick and may be called by several goroutines at once.
func (r *Room) Watch(fn func(Event)) (cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nextWat
	r.nextWat++
	r.watchers[n] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, n)
	}
}

func (r *Room) emit(e Event) {
	if len(e.Heads) == 0 && !e.Members && !e.Drive && !e.Chat && !e.Keys && !e.Status && !e.Removed && len(e.Notes) == 0 {
		return
	}
	r.mu.Lock()
	fns := maps.Clone(r.watchers)
	r.mu.Unlock()
	for _, fn := range fns {
		fn(e)
	}
}
