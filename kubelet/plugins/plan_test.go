package plugins

import (
	"slices"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	one, two := identity{inode: 1}, identity{inode: 2}
	registered := &plugin{"CSIPlugin", "x"}
	for _, c := range []struct {
		name  string
		found map[string]identity
		known map[string]*state
		want  []step
		wait  time.Duration
	}{
		{"nothing", nil, nil, nil, -1},
		{"new", map[string]identity{"b": one, "a": two}, nil, []step{{"a", true}, {"b", true}}, -1},
		{"settled", map[string]identity{"a": one}, map[string]*state{"a": {id: one, registered: registered}}, nil, -1},
		{"gone", nil, map[string]*state{"a": {id: one, registered: registered}}, []step{{"a", false}}, -1},
		{"gone, never registered", nil, map[string]*state{"a": {id: one}}, nil, -1},
		{"another in its place", map[string]identity{"a": two}, map[string]*state{"a": {id: one, registered: registered}}, []step{{"a", false}}, -1},
		{"busy", map[string]identity{"a": two}, map[string]*state{"a": {id: one, busy: true, registered: registered}}, nil, -1},
		{"failed", map[string]identity{"a": one}, map[string]*state{"a": {id: one, retry: now.Add(time.Second)}}, nil, time.Second},
		{"failed a while ago", map[string]identity{"a": one}, map[string]*state{"a": {id: one, retry: now}}, []step{{"a", true}}, -1},
		{"failed, replaced", map[string]identity{"a": two}, map[string]*state{"a": {id: one, retry: now.Add(time.Hour)}}, []step{{"a", true}}, -1},
	} {
		got, wait := plan(c.found, c.known, now)
		if !slices.Equal(got, c.want) || wait != c.wait {
			t.Errorf("%s: %v after %v, want %v after %v", c.name, got, wait, c.want, c.wait)
		}
	}
}

func TestFailuresAreRetriedAfterGrowingPauses(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &state{}
	for _, want := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause} {
		if s.failed(now); s.retry.Sub(now) != want {
			t.Errorf("retried after %v, want %v", s.retry.Sub(now), want)
		}
	}
	for range 20 {
		s.failed(now)
	}
	if s.pause != lastPause {
		t.Errorf("the longest pause is %v", s.pause)
	}
}
