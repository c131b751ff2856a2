package horizontalpodautoscaler

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"skiff/controllers/internal/controller"
)

// parse answers the selector of a target's scale.
func parse(selector string) (labels.Selector, *Refusal) {
	if selector == "" {
		return nil, &Refusal{"SelectorRequired", errors.New("selector is required"), told{"InvalidSelector", "the HPA target's scale is missing a selector"}}
	}
	parsed, err := labels.Parse(selector)
	if err != nil {
		err = fmt.Errorf("couldn't convert selector into a corresponding internal selector object: %w", err)
		return nil, &Refusal{"InvalidSelector", err, told{"InvalidSelector", err.Error()}}
	}
	return parsed, nil
}

// ambiguous refuses pods that others scale too.
func ambiguous(key controller.Key, selector string, others map[controller.Key]labels.Selector, pods []*corev1.Pod) *Refusal {
	byName := func(a, b controller.Key) int { return cmp.Compare(a.Name, b.Name) }
	names := make([]controller.Key, 0, len(others))
	for k := range others {
		names = append(names, k)
	}
	slices.SortFunc(names, byName)
	for _, k := range names {
		if !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return others[k].Matches(labels.Set(p.Labels)) }) {
			continue
		}
		both := []controller.Key{key, k}
		slices.SortFunc(both, byName)
		err := fmt.Errorf("pods by selector %v are controlled by more than one HPA (e.g. %v)", selector, both)
		return &Refusal{"AmbiguousSelector", err, told{"AmbiguousSelector", err.Error()}}
	}
	return nil
}

// memories keep what is known of each autoscaler between its rounds. The zero value is ready to use.
type memories struct {
	mu    sync.Mutex
	known map[controller.Key]*remembered
}

// remembered is of one autoscaler; only its own round changes it.
type remembered struct {
	uid      types.UID
	history  History
	selector labels.Selector
}

// of answers the history of an autoscaler, and whether it is new. One that replaced another of its name starts anew.
func (m *memories) of(key controller.Key, uid types.UID) (h History, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[controller.Key]*remembered{}
	}
	old, ok := m.known[key]
	if ok && old.uid == uid {
		return old.history, false
	}
	m.known[key] = &remembered{uid: uid}
	return History{}, !ok
}

// keep remembers the history.
func (m *memories) keep(key controller.Key, h History) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.known[key]; ok {
		known.history = h
	}
}

// others notes the selector of an autoscaler and answers those of the others in its namespace.
func (m *memories) others(key controller.Key, selector labels.Selector) map[controller.Key]labels.Selector {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[controller.Key]labels.Selector{}
	for k, known := range m.known {
		switch {
		case k == key:
			known.selector = selector
		case k.Namespace == key.Namespace && known.selector != nil:
			out[k] = known.selector
		}
	}
	return out
}

// forget drops an autoscaler that is gone; it answers whether it was known.
func (m *memories) forget(key controller.Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.known[key]
	delete(m.known, key)
	return ok
}
