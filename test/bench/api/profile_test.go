//go:build bench

package api

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"skiff/test/bench/sides"
)

const profiled = 12 * time.Second

// TestProfile writes where skiff spends its time under each load, and its heap
// at the end, for go tool pprof.
func TestProfile(t *testing.T) {
	if *profile == "" {
		t.Skip("asked for with -profile")
	}
	s := sides.Skiff(t, "--api-only")
	c := &contest{t: t, sides: []*sides.Side{s}}
	for _, namespace := range []string{"create", "load", "list"} {
		c.prepare(s, namespace)
	}
	c.put(s, "load", perLoad)
	c.put(s, "list", listed)
	w, err := startWatchers(t.Context(), s, json, "load", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	pods := c.read(s, "load", perLoad)
	wrap := func(do call) call {
		return func(ctx context.Context, pods typedcorev1.PodInterface, number int) error {
			return do(ctx, pods, number%perLoad)
		}
	}
	for _, encoding := range []string{protobuf, json} {
		offset := 0
		if encoding == json {
			offset = 1 << 20
		}
		c.profile(s, "create", encoding, "create", offset, create)
		c.profile(s, "update", encoding, "load", 0, wrap(update(pods)))
		c.profile(s, "patch", encoding, "load", 0, wrap(patch))
		pods = c.read(s, "load", perLoad)
		c.profile(s, "get", encoding, "load", 0, wrap(get))
		c.profile(s, "list", encoding, "list", 0, list(listed))
	}
	w, err = startWatchers(t.Context(), s, json, "load", watching)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	c.profile(s, "watch", protobuf, "load", 0, wrap(update(pods)))
	raw, err := c.client(s, json).RESTClient().Get().AbsPath("/debug/pprof/heap").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(*profile, "heap.pprof"), string(raw))
}

// profile keeps calling while the profile is taken.
func (c *contest) profile(s *sides.Side, name, encoding, namespace string, from int, do call) {
	c.t.Helper()
	few := c.clients(s, encoding, fewClients)
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = run(ctx, few, namespace, from, from+(1<<19), do)
	}()
	raw, err := c.client(s, json).RESTClient().Get().AbsPath("/debug/pprof/profile").Param("seconds", strconv.Itoa(int(profiled.Seconds()))).DoRaw(ctx)
	cancel()
	<-done
	if err != nil {
		c.t.Fatal(err)
	}
	write(c.t, filepath.Join(*profile, name+"-"+short(encoding)+".pprof"), string(raw))
}
