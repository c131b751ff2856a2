package golden

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"skiff/test/env"
)

// workers replay kinds side by side.
const workers = 4

// governing kinds act on requests for other kinds while one of their objects is
// stored, so each is replayed alone, after all others and in this order.
var governing = []string{
	"apiregistration.k8s.io_v1.APIService", "v1.Namespace", "v1.Node", "v1.ServiceAccount", "networking.k8s.io_v1.ServiceCIDR",
	"networking.k8s.io_v1.IPAddress", "v1.Service", "networking.k8s.io_v1.IngressClass", "storage.k8s.io_v1.StorageClass",
	"scheduling.k8s.io_v1.PriorityClass", "node.k8s.io_v1.RuntimeClass", "v1.LimitRange", "v1.ResourceQuota",
	"admissionregistration.k8s.io_v1.MutatingAdmissionPolicy", "admissionregistration.k8s.io_v1.MutatingAdmissionPolicyBinding",
	"admissionregistration.k8s.io_v1.ValidatingAdmissionPolicy", "admissionregistration.k8s.io_v1.ValidatingAdmissionPolicyBinding",
	"admissionregistration.k8s.io_v1.ValidatingWebhookConfiguration", "admissionregistration.k8s.io_v1.MutatingWebhookConfiguration",
}

func TestReplay(t *testing.T) {
	show := showFromEnv(t)
	c := newClient(env.Start(t, env.Options{}))
	prepare(t, c)

	together, alone := files(t, show)
	results := replayAll(t, c, together, alone, show)
	if t.Failed() {
		return
	}
	t.Log("\n" + results.String())
	if show.limit > 0 {
		return
	}
	path := filepath.Join("testdata", "levels.txt")
	if os.Getenv("GOLDEN_UPDATE") != "" {
		if err := os.WriteFile(path, results.levels(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, path, results)
}

// prepare stores what the recorded requests refer to.
func prepare(t *testing.T, c client) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "prereq.json"))
	if err != nil {
		t.Fatal(err)
	}
	var l map[string]any
	if err := json.Unmarshal(data, &l); err != nil {
		t.Fatal(err)
	}
	c.apply(t, list(l["items"]))
}

// files lists the case files: those to replay side by side, largest first, and
// those to replay alone.
func files(t *testing.T, s *show) (together, alone []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(cmp.Or(os.Getenv("GOLDEN_CASES"), "testdata/cases"), "*.jsonl.gz"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no case files: %v", err)
	}
	all = slices.DeleteFunc(all, func(f string) bool { return !s.kinds.MatchString(kindOf(f)) })
	size := map[string]int64{}
	for _, f := range all {
		if info, err := os.Stat(f); err == nil {
			size[f] = info.Size()
		}
		if slices.Contains(governing, kindOf(f)) {
			alone = append(alone, f)
		} else {
			together = append(together, f)
		}
	}
	slices.SortFunc(together, func(a, b string) int { return int(size[b] - size[a]) })
	slices.SortFunc(alone, func(a, b string) int {
		return slices.Index(governing, kindOf(a)) - slices.Index(governing, kindOf(b))
	})
	return together, alone
}

func kindOf(file string) string { return strings.TrimSuffix(filepath.Base(file), ".jsonl.gz") }

func replayAll(t *testing.T, c client, together, alone []string, s *show) scores {
	t.Helper()
	out := scores{}
	var mu sync.Mutex
	one := func(file string) {
		r, err := load(file)
		if err == nil {
			var sc score
			if sc, err = (&player{client: c, recording: r, show: s}).run(t.Context()); err == nil {
				mu.Lock()
				defer mu.Unlock()
				out[r.kind] = sc
				return
			}
		}
		t.Error(err)
	}
	queue := make(chan string)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for file := range queue {
				one(file)
			}
		})
	}
	for _, f := range together {
		queue <- f
	}
	close(queue)
	wg.Wait()
	for _, f := range alone {
		one(f)
	}
	return out
}

// A player replays one kind, one request after the other.
type player struct {
	client
	*recording
	*show
	live string // the item stored for updates, or empty
	base string // whose object it is
}

func (p *player) run(ctx context.Context) (score, error) {
	var sc score
	for i := range p.cases {
		e := &p.cases[i]
		if err := p.prepare(ctx, e); err != nil {
			return sc, fmt.Errorf("%s: preparing %q: %w", p.kind, e.ID, err)
		}
		sent, err := patched(p.bases[e.Base], e.Patch)
		if err != nil {
			return sc, fmt.Errorf("%s: %q: %w", p.kind, e.ID, err)
		}
		status, body, err := p.do(ctx, e.Method, e.Path, sent, "Accept", e.Accept)
		if err != nil {
			return sc, fmt.Errorf("%s: %q: %w", p.kind, e.ID, err)
		}
		v, want, got := judge(e, sent, status, body)
		sc.add(v)
		if !v.ok() {
			p.print(p.kind, e, v, want, got)
		}
	}
	return sc, p.clear(ctx)
}

// prepare stores the base of an update, and nothing for a create.
func (p *player) prepare(ctx context.Context, e *example) error {
	if e.Method != "PUT" {
		return p.clear(ctx)
	}
	if p.base == e.Base {
		return nil
	}
	if err := p.clear(ctx); err != nil {
		return err
	}
	obj := p.bases[e.Base]
	p.live, p.base = e.collection()+"/"+name(obj), e.Base
	if err := p.remove(ctx, p.live); err != nil {
		return err
	}
	if _, _, err := p.do(ctx, "POST", e.collection(), obj); err != nil || obj["kind"] != "FlowSchema" {
		return err
	}
	return p.settled(ctx)
}

// settled waits, not for long, until a controller of the server has written the
// status: the updates were recorded on top of it.
func (p *player) settled(ctx context.Context) error {
	for range 100 {
		_, body, err := p.do(ctx, "GET", p.live, nil)
		if err != nil || len(object(body["status"])) > 0 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func (p *player) clear(ctx context.Context) error {
	if p.live == "" {
		return nil
	}
	item := p.live
	p.live, p.base = "", ""
	return p.remove(ctx, item)
}
