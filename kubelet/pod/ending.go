package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// cleanRetry is how long to wait after cleaning up failed.
const cleanRetry = time.Second

// finished reports whether every container is done for good: each regular one has exited and none is to run again, or an
// init container has failed and isn't to run again.
func (m *machine) finished() bool {
	for i := range m.Pod.Spec.InitContainers {
		spec := &m.Pod.Spec.InitContainers[i]
		last := m.Seen.latest(spec.Name, "")
		if !isSidecar(spec) && last != nil && last.State == cri.Exited && last.ExitCode != 0 && !restarts(m.Pod, spec, last.ExitCode) &&
			!m.mainsEverExisted() {
			return true
		}
	}
	for i := range m.Pod.Spec.Containers {
		spec := &m.Pod.Spec.Containers[i]
		last := m.Seen.latest(spec.Name, "")
		if last == nil || last.State != cri.Exited || restarts(m.Pod, spec, last.ExitCode) || m.Busy.Starting[spec.Name] {
			return false
		}
	}
	return len(m.Pod.Spec.Containers) > 0
}

func (m *machine) mainsEverExisted() bool {
	for _, spec := range m.Pod.Spec.Containers {
		if m.Seen.latest(spec.Name, "") != nil {
			return true
		}
	}
	return false
}

// initialized reports, for a pod that ends, whether its init containers were done.
func (m *machine) initialized() bool {
	if len(m.Pod.Spec.InitContainers) == 0 || m.mainsEverExisted() {
		return true
	}
	for i := range m.Pod.Spec.InitContainers {
		spec := &m.Pod.Spec.InitContainers[i]
		last := m.Seen.latest(spec.Name, "")
		if last == nil || (!isSidecar(spec) && (last.State != cri.Exited || last.ExitCode != 0)) {
			return false
		}
	}
	return true
}

// end takes the pod down: containers, then sidecars from the last to the first, then sandboxes, then volumes and cgroup, and
// once the API has let go of it, its records.
func (m *machine) end() {
	if m.Pod.DeletionTimestamp != nil {
		m.shorten()
	}
	if m.endContainers() {
		return
	}
	if len(m.Busy.Starting) > 0 || m.Busy.Sandbox || m.Busy.Mounting {
		return // the worker cancels these; what they leave is seen when they are over
	}
	for _, s := range m.Seen.Sandboxes {
		if !m.Memory.Stopped[s.ID] {
			m.stop(s.ID)
		}
	}
	for _, s := range m.Seen.Sandboxes {
		if !m.Memory.Stopped[s.ID] {
			return
		}
	}
	m.plan.Over = true
	if !m.Memory.Cleaned {
		m.clean()
		return
	}
	m.plan.Final = true
}

// shorten follows a deletion with a shorter grace period than the end began with.
func (m *machine) shorten() {
	if asked := grace(m.Pod); asked < m.plan.End.Grace {
		end := *m.plan.End
		end.Since, end.Grace = m.Now, asked
		m.plan.End = &end
	}
}

// endContainers ends what runs and reports whether something still does.
func (m *machine) endContainers() bool {
	alive := m.Seen.alive()
	if len(alive) == 0 {
		return false
	}
	rank := m.sidecarRanks()
	last := -1
	for _, c := range alive {
		r, sidecar := rank[c.Name]
		if !sidecar {
			r = len(m.Pod.Spec.InitContainers)
		}
		last = max(last, r)
	}
	for _, c := range alive {
		r, sidecar := rank[c.Name]
		if !sidecar || r == last {
			m.kill(c, m.left(), "")
		}
	}
	return true
}

// left is what remains of the grace period. A pod that is deleted at once gets none.
func (m *machine) left() time.Duration {
	end := m.plan.End
	if end.Grace == 0 {
		return 0
	}
	return max(end.Grace-m.Now.Sub(end.Since), minimumGrace)
}

// sidecarRanks orders sidecars by their place among the init containers.
func (m *machine) sidecarRanks() map[string]int {
	out := map[string]int{}
	for i := range m.Pod.Spec.InitContainers {
		if isSidecar(&m.Pod.Spec.InitContainers[i]) {
			out[m.Pod.Spec.InitContainers[i].Name] = i
		}
	}
	return out
}

func (m *machine) clean() {
	switch {
	case m.Busy.Cleaning:
	case m.Now.Before(m.Memory.CleanFailed.Add(cleanRetry)):
		m.plan.wake(m.Memory.CleanFailed.Add(cleanRetry))
	default:
		m.plan.add(Step{Kind: CleanUp})
	}
}

// Phase is the pod's phase as its containers make it. One that is final stays.
func Phase(in Input, plan Plan) corev1.PodPhase {
	if known := in.Pod.Status.Phase; known == corev1.PodFailed || known == corev1.PodSucceeded {
		return known
	}
	m := &machine{Input: in, plan: plan}
	var waiting, running, failed, succeeded int
	for i := range in.Pod.Spec.Containers {
		last := in.Seen.latest(in.Pod.Spec.Containers[i].Name, "")
		switch {
		case last == nil || last.State == cri.Created || last.State == cri.Unknown:
			waiting++
		case last.State == cri.Running:
			running++
		case last.ExitCode == 0:
			succeeded++
		default:
			failed++
		}
	}
	done := plan.Over || (m.finished() && len(in.Seen.alive()) == 0)
	switch {
	case !done && waiting > 0:
		return corev1.PodPending
	case !done:
		return corev1.PodRunning
	case failed > 0 || waiting > 0 || plan.End != nil && plan.End.Failed:
		return corev1.PodFailed
	}
	return corev1.PodSucceeded
}
