package etcd

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// progressInterval is how often a watch of idle keys that asked for it is told how far it has come.
const progressInterval = time.Minute

// watcher is a clientv3.Watcher on the store itself. Every watch has a stream of its own: what etcd's client and its
// server share one for may answer a watch of the past with a progress that was asked for before it began, and a watch
// cache that believes it never hears of what happened in between.
type watcher struct {
	kv   mvcc.WatchableKV
	done chan struct{} // closed by Close

	mu      sync.Mutex
	closed  bool
	streams map[mvcc.WatchStream]bool // whether it asked for progress
	wg      sync.WaitGroup
}

func newWatcher(s *etcdserver.EtcdServer) *watcher {
	w := &watcher{kv: s.Watchable(), done: make(chan struct{}), streams: map[mvcc.WatchStream]bool{}}
	w.wg.Add(1)
	go w.remind()
	return w
}

// Watch implements clientv3.Watcher.
func (w *watcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	op := clientv3.OpGet(key, opts...)
	out := make(chan clientv3.WatchResponse, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(out)
		return out
	}
	stream := w.kv.NewWatchStream()
	if _, err := stream.Watch(ctx, clientv3.AutoWatchID, op.KeyBytes(), end(op), op.Rev(), filters(op)...); err != nil {
		stream.Close()
		out <- clientv3.WatchResponse{Canceled: true, CancelReason: err.Error()}
		close(out)
		return out
	}
	w.streams[stream] = op.IsProgressNotify()
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		defer close(out)
		w.pass(ctx, stream, op.IsPrevKV(), out)
		w.mu.Lock()
		delete(w.streams, stream)
		w.mu.Unlock()
		stream.Close()
	}()
	return out
}

// pass hands on what the stream brings until the watch, the watcher or the history that it needs ends.
func (w *watcher) pass(ctx context.Context, stream mvcc.WatchStream, previous bool, out chan<- clientv3.WatchResponse) {
	for {
		select {
		case r := <-stream.Chan():
			mvcc.ReportEventReceived(len(r.Events))
			select {
			case out <- w.response(ctx, r, previous):
			case <-ctx.Done():
				return
			case <-w.done:
				return
			}
			if r.CompactRevision != 0 {
				return
			}
		case <-ctx.Done():
			return
		case <-w.done:
			return
		}
	}
}

func (w *watcher) response(ctx context.Context, r mvcc.WatchResponse, previous bool) clientv3.WatchResponse {
	out := clientv3.WatchResponse{
		Header:          &pb.ResponseHeader{Revision: r.Revision},
		CompactRevision: r.CompactRevision,
		Canceled:        r.CompactRevision != 0,
		Events:          r.Events,
	}
	if !previous {
		return out
	}
	out.Events = make([]*clientv3.Event, len(r.Events))
	for i, e := range r.Events { // which other watches have too
		out.Events[i] = &clientv3.Event{Type: e.Type, Kv: e.Kv, PrevKv: w.previous(ctx, e)}
	}
	return out
}

// previous is what the key was before the event. It is nil if that is compacted, which whoever watches takes for the
// end of the watch.
func (w *watcher) previous(ctx context.Context, e *mvccpb.Event) *mvccpb.KeyValue {
	if e.Type == mvccpb.Event_PUT && e.Kv.CreateRevision == e.Kv.ModRevision {
		return nil
	}
	r, err := w.kv.Range(context.WithoutCancel(ctx), e.Kv.Key, nil, mvcc.RangeOptions{Rev: e.Kv.ModRevision - 1})
	if err != nil || len(r.KVs) == 0 {
		return nil
	}
	return r.KVs[0]
}

// RequestProgress implements clientv3.Watcher, except that only those are told who asked for progress, as all watch caches
// do: it reaches the others' clients as bookmarks, which they get without having allowed them. A watch that has not caught up
// is not told.
func (w *watcher) RequestProgress(context.Context) error {
	w.progress()
	return nil
}

// remind tells of progress now and then.
func (w *watcher) remind() {
	defer w.wg.Done()
	ticker := time.NewTicker(progressInterval) //nolint:forbidigo // there is no clock to set at this depth
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.progress()
		case <-w.done:
			return
		}
	}
}

// progress tells those who asked for it how far they have come.
func (w *watcher) progress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for stream, asked := range w.streams {
		if asked {
			stream.RequestProgressAll()
		}
	}
}

// Close implements clientv3.Watcher.
func (w *watcher) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.done)
	}
	w.mu.Unlock()
	w.wg.Wait()
	return nil
}

// end is the end of the range as the store takes it: nil for one key, empty for all keys from the first on.
func end(op clientv3.Op) []byte {
	switch e := op.RangeBytes(); {
	case len(e) == 0:
		return nil
	case len(e) == 1 && e[0] == 0:
		return []byte{}
	default:
		return e
	}
}

func filters(op clientv3.Op) (out []mvcc.FilterFunc) {
	if op.IsFilterPut() {
		out = append(out, func(e *mvccpb.Event) bool { return e.Type == mvccpb.Event_PUT })
	}
	if op.IsFilterDelete() {
		out = append(out, func(e *mvccpb.Event) bool { return e.Type == mvccpb.Event_DELETE })
	}
	return out
}
