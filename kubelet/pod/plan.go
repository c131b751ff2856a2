package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind is what a step does.
type Kind int

// The steps. What each needs of Step is in parentheses.
const (
	// MountVolumes makes the pod's volumes ready.
	MountVolumes Kind = iota
	// CreateSandbox makes a sandbox (Attempt).
	CreateSandbox
	// StopSandbox stops a sandbox and its network (ID).
	StopSandbox
	// RemoveSandbox removes a stopped sandbox with its containers (ID).
	RemoveSandbox
	// StartContainer pulls, creates and starts a container (Container, ID of the sandbox, Attempt).
	StartContainer
	// KillContainer stops a container (Container, ID, Grace, Message).
	KillContainer
	// RemoveContainer removes a dead or never started container (Container, ID).
	RemoveContainer
	// CleanUp unmounts the volumes and removes the cgroup.
	CleanUp
)

// Step is one thing to begin.
type Step struct {
	Kind      Kind
	Container string
	ID        string
	Attempt   uint32
	Grace     time.Duration
	Message   string
	// Previous is when the container that a start replaces exited; the zero time when there is none.
	Previous time.Time
}

// Plan is what to do now.
type Plan struct {
	Steps []Step
	// Wake is when to look again without an event; the zero time when only an event can change something.
	Wake time.Time
	// Waiting overrides why a container isn't running.
	Waiting map[string]corev1.ContainerStateWaiting
	// BackOff names the containers whose restart waits, for the event about it.
	BackOff []string
	// Initialized is true when every init container is done (or a sidecar and started).
	Initialized bool
	// Over is true when the pod's containers are done for good and its sandbox is stopped.
	Over bool
	// Final is true when, beyond that, nothing of it is left but records: volumes and cgroups are gone.
	Final bool
	// Gone is true when the pod has been removed from the API and nothing of it is left on the node.
	Gone bool
	// End is why the pod ends, to be remembered.
	End *End
}

func (p *Plan) add(step Step) { p.Steps = append(p.Steps, step) }

// wake moves the next look forward to at.
func (p *Plan) wake(at time.Time) {
	if p.Wake.IsZero() || at.Before(p.Wake) {
		p.Wake = at
	}
}
