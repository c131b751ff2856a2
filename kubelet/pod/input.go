package pod

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
	"skiff/kubelet/probes"
)

// Input is all that the next steps depend on.
type Input struct {
	Pod    *corev1.Pod
	Seen   Seen
	Memory *Memory
	Busy   Busy
	// Probes is what probes found, by container id.
	Probes map[string]Health
	Now    time.Time
}

// Seen is what the runtime reports of one pod.
type Seen struct {
	Sandboxes  []cri.Sandbox
	Containers []cri.Container
}

// Health is what probes found of a running container. One without an entry is well.
type Health = probes.Health

// Memory is what a worker remembers between looks. Only End matters beyond a restart of the process, and that is found again.
type Memory struct {
	// Restarts holds the restart back-off by container name.
	Restarts map[string]Backoff
	// Failures are the containers whose last start did not succeed.
	Failures map[string]*WaitError
	// Sandbox holds the last failure to make the sandbox or the volumes.
	Sandbox *WaitError
	// Volumes are the host paths by volume name; nil until they are mounted.
	Volumes map[string]string
	// Stopped holds the sandboxes that were stopped in order, network included.
	Stopped map[string]bool
	// End is why the pod ends, once it does.
	End *End
	// Cleaned is set when volumes and cgroups are gone.
	Cleaned bool
	// CleanFailed is when cleaning up may be tried again.
	CleanFailed time.Time
}

// NewMemory is a worker's memory at its start.
func NewMemory() *Memory {
	return &Memory{Restarts: map[string]Backoff{}, Failures: map[string]*WaitError{}, Stopped: map[string]bool{}}
}

// End is why a pod ends and how long it may take.
type End struct {
	// Reason and Message go to the status of a pod that the node failed; both empty when it was deleted or is done.
	Reason, Message string
	// Since is when the node began to end the pod, Grace how long its containers may take from then on.
	Since time.Time
	Grace time.Duration
	// Failed says that the phase is Failed whatever the containers did.
	Failed bool
}

// Busy is what is under way.
type Busy struct {
	// Mounting, Sandbox and Cleaning say that such a step runs.
	Mounting, Sandbox, Cleaning bool
	// Starting holds the names of the containers that are being started.
	Starting map[string]bool
	// Killing holds the time by which a container that is being stopped is killed, by id.
	Killing map[string]time.Time
	// Removing holds the ids of sandboxes and containers that are being removed or stopped.
	Removing map[string]bool
}

// sandbox is the newest one.
func (s Seen) sandbox() *cri.Sandbox {
	var newest *cri.Sandbox
	for i := range s.Sandboxes {
		if newest == nil || s.Sandboxes[i].Attempt > newest.Attempt || (s.Sandboxes[i].Attempt == newest.Attempt && s.Sandboxes[i].Created.After(newest.Created)) {
			newest = &s.Sandboxes[i]
		}
	}
	return newest
}

// latest is the newest container of a name; of one sandbox unless that is empty.
func (s Seen) latest(name, sandbox string) *cri.Container {
	var newest *cri.Container
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Name != name || (sandbox != "" && c.SandboxID != sandbox) {
			continue
		}
		if newest == nil || c.Attempt > newest.Attempt || (c.Attempt == newest.Attempt && c.Created.After(newest.Created)) {
			newest = c
		}
	}
	return newest
}

// alive are the containers that run or may be about to.
func (s Seen) alive() []cri.Container {
	return slices.DeleteFunc(slices.Clone(s.Containers), func(c cri.Container) bool { return c.State == cri.Exited || c.State == cri.Created })
}

// attempt is the number of the next container of a name.
func (in Input) attempt(name string) uint32 {
	next := uint32(0)
	if last := in.Seen.latest(name, ""); last != nil {
		next = max(last.Attempt, uint32(last.RestartCount())) + 1
	}
	for _, known := range slices.Concat(in.Pod.Status.InitContainerStatuses, in.Pod.Status.ContainerStatuses) {
		if known.Name == name && known.ContainerID != "" {
			next = max(next, uint32(known.RestartCount)+1)
		}
	}
	return next
}
