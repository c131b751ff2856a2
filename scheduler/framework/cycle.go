package framework

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
)

// StateData is what a plugin keeps from one extension point to a later one of the same cycle. Clone answers a copy that
// AddPod and RemovePod may change without changing the original.
type StateData interface {
	Clone() StateData
}

// Cycle is one attempt to place one pod. It is read by many goroutines during Filter and Score and written by none of them.
type Cycle struct {
	Pod      *PodInfo
	Snapshot *Snapshot
	// Filters lets PostFilter plugins ask the filters "what if".
	Filters FilterRunner
	// Parallelism bounds the goroutines that share the work on the pod.
	Parallelism int
	// Sampled has the time of single plugins taken.
	Sampled bool

	states []namedState
	// noFilter, noScore and noExtend have a bit for each plugin at Filter, Score and PreFilter that has nothing to do.
	noFilter, noScore, noExtend uint64
}

type namedState struct {
	key  string
	data StateData
}

// NewCycle starts an attempt.
func NewCycle(pod *PodInfo, snapshot *Snapshot) *Cycle {
	return &Cycle{Pod: pod, Snapshot: snapshot, Parallelism: DefaultParallelism, states: make([]namedState, 0, 8)}
}

// Write keeps a plugin's data under a key of its own.
func (c *Cycle) Write(key string, data StateData) {
	for i := range c.states {
		if c.states[i].key == key {
			c.states[i].data = data
			return
		}
	}
	c.states = append(c.states, namedState{key, data})
}

// Read answers what was written under the key, nil when nothing was.
func (c *Cycle) Read(key string) StateData {
	for i := range c.states {
		if c.states[i].key == key {
			return c.states[i].data
		}
	}
	return nil
}

// Clone answers a cycle whose state can be changed for a what-if.
func (c *Cycle) Clone() *Cycle {
	clone := *c
	clone.states = make([]namedState, len(c.states))
	for i, s := range c.states {
		clone.states[i] = namedState{s.key, s.data.Clone()}
	}
	return &clone
}

// keep drops what was written, but for what was under these keys.
func (c *Cycle) keep(keys sets.Set[string]) {
	c.states = slices.DeleteFunc(c.states, func(s namedState) bool { return !keys.Has(s.key) })
}

// State reads a plugin's data as its type; the zero value when it wrote none.
func State[T StateData](c *Cycle, key string) T {
	data, _ := c.Read(key).(T)
	return data
}
