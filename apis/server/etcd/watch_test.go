package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// put writes and returns the revision.
func put(t *testing.T, c *clientv3.Client, key, value string) int64 {
	t.Helper()
	r, err := c.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// A watch cache that is told of a progress takes itself for complete up to there. So a watch of the past must hear what
// happened before it hears of the progress, even of one that was asked for before the watch began.
func TestProgressComesAfterThePast(t *testing.T) {
	c := start(t, t.TempDir()).Client.Client
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := c.RequestProgress(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	// Others listen, as the caches of other resources do.
	for range 4 {
		others := c.Watch(ctx, "other", clientv3.WithProgressNotify())
		wg.Go(func() {
			for range others { //nolint:revive // only to take them
			}
		})
	}
	for i := range 30 {
		rev := put(t, c, "k", fmt.Sprint(i))
		watch, stop := context.WithCancel(ctx)
		for r := range c.Watch(watch, "k", clientv3.WithRev(rev), clientv3.WithProgressNotify()) {
			if len(r.Events) > 0 {
				break
			}
			if r.IsProgressNotify() && r.Header.Revision >= rev {
				t.Fatalf("watch %d from %d heard of progress to %d before the event", i, rev, r.Header.Revision)
			}
		}
		stop()
	}
}

func TestWatch(t *testing.T) {
	c := start(t, t.TempDir()).Client.Client
	first := put(t, c, "a/1", "one")
	put(t, c, "a/1", "two")
	put(t, c, "b", "other")
	past := c.Watch(t.Context(), "a/", clientv3.WithPrefix(), clientv3.WithRev(first+1), clientv3.WithPrevKV(), clientv3.WithProgressNotify())
	now := c.Watch(t.Context(), "a/1", clientv3.WithProgressNotify())
	deleted, err := c.Delete(t.Context(), "a/1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 2 {
		for _, e := range (<-past).Events {
			got = append(got, fmt.Sprintf("%s %s=%s was %s at %d", e.Type, e.Kv.Key, e.Kv.Value, e.PrevKv.GetValue(), e.Kv.ModRevision))
		}
	}
	want := []string{
		fmt.Sprintf("PUT a/1=two was one at %d", first+1),
		fmt.Sprintf("DELETE a/1= was two at %d", deleted.Header.Revision),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	r := <-now
	if len(r.Events) != 1 || r.Events[0].Type != mvccpb.Event_DELETE || r.Events[0].PrevKv != nil || r.Header.Revision != deleted.Header.Revision {
		t.Errorf("a watch from now on got %v", r)
	}
	if err := c.RequestProgress(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ch := range []clientv3.WatchChan{past, now} {
		if r := <-ch; !r.IsProgressNotify() || r.Header.Revision != deleted.Header.Revision {
			t.Errorf("progress is %v", r)
		}
	}
}

// Clients may watch past the caches (events have none), and take no bookmarks unless they allow them: the progress that a
// cache asks for is none of their business.
func TestProgressIsForThoseWhoAskedForIt(t *testing.T) {
	c := start(t, t.TempDir()).Client.Client
	cache, client := c.Watch(t.Context(), "k", clientv3.WithProgressNotify()), c.Watch(t.Context(), "k")
	if err := c.RequestProgress(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, c, "k", "v")
	if r := <-cache; !r.IsProgressNotify() {
		t.Errorf("the cache got %v, want progress", r)
	}
	if r := <-client; len(r.Events) != 1 {
		t.Errorf("a client got %v, want the event", r)
	}
}

func TestWatchEnds(t *testing.T) {
	e := start(t, t.TempDir())
	c := e.Client.Client
	first := put(t, c, "k", "one")
	last := put(t, c, "k", "two")
	if _, err := c.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	compacted := c.Watch(t.Context(), "k", clientv3.WithRev(first))
	if r := <-compacted; !errors.Is(r.Err(), rpctypes.ErrCompacted) || r.CompactRevision != last {
		t.Errorf("a compacted watch got %v, %v", r, r.Err())
	}
	if r, ok := <-compacted; ok {
		t.Errorf("a compacted watch went on with %v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := c.Watch(ctx, "k")
	cancel()
	if r, ok := <-left; ok {
		t.Errorf("a watch that was left got %v", r)
	}
	open := c.Watch(t.Context(), "k")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if r, ok := <-open; ok {
		t.Errorf("a watch of a closed store got %v", r)
	}
	if r, ok := <-c.Watch(t.Context(), "k"); ok && r.Err() == nil {
		t.Errorf("a watch after the end got %v", r)
	}
}
