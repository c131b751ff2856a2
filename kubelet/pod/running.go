package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// initContainers starts the init containers one after the other, sidecars among them in their place. It sets Initialized once
// the regular containers may start; they were started before when one of them exists in this sandbox.
func (m *machine) initContainers(sandbox *cri.Sandbox) {
	passed := m.mainsExist(sandbox)
	m.plan.Initialized = true
	for i := range m.Pod.Spec.InitContainers {
		spec := &m.Pod.Spec.InitContainers[i]
		now := m.Seen.latest(spec.Name, sandbox.ID)
		var done bool
		if isSidecar(spec) {
			done = m.sidecar(spec, now, sandbox) || passed
		} else {
			done = passed || m.laterInitExists(i, sandbox) || m.initContainer(spec, now, sandbox)
		}
		if !done {
			m.plan.Initialized = false
			return
		}
	}
}

// initContainer reports whether the container has succeeded, and works towards it.
func (m *machine) initContainer(spec *corev1.Container, now *cri.Container, sandbox *cri.Sandbox) bool {
	switch {
	case now == nil:
		m.start(spec, sandbox, m.Seen.latest(spec.Name, ""))
	case now.State == cri.Exited && now.ExitCode == 0:
		return true
	case now.State == cri.Exited:
		if restarts(m.Pod, spec, now.ExitCode) {
			m.restart(spec, sandbox, now)
		}
	default:
		m.stale(spec, now)
	}
	return false
}

// sidecar reports whether the container has started, so that what follows it may start, and keeps it running.
func (m *machine) sidecar(spec *corev1.Container, now *cri.Container, sandbox *cri.Sandbox) bool {
	switch {
	case now == nil:
		m.start(spec, sandbox, m.Seen.latest(spec.Name, ""))
		return false
	case now.State == cri.Exited:
		m.restart(spec, sandbox, now)
		return false
	case now.State == cri.Running:
		m.watch(spec, now)
		return m.health(now).Started && !m.Busy.Starting[spec.Name]
	}
	m.stale(spec, now)
	return false
}

// mainContainers starts the regular containers in order and keeps them running as their policy says. A container with a
// postStart hook holds back those after it until its start is over, however that ends.
func (m *machine) mainContainers(sandbox *cri.Sandbox) {
	for i := range m.Pod.Spec.Containers {
		spec := &m.Pod.Spec.Containers[i]
		now := m.Seen.latest(spec.Name, sandbox.ID)
		switch {
		case now == nil:
			m.startMain(spec, sandbox)
		case now.State == cri.Exited:
			if restarts(m.Pod, spec, now.ExitCode) {
				m.restart(spec, sandbox, now)
			}
		case now.State == cri.Running:
			m.watch(spec, now)
		default:
			m.stale(spec, now)
		}
		if spec.Lifecycle != nil && spec.Lifecycle.PostStart != nil && m.starting(spec.Name) {
			return
		}
	}
}

// starting reports whether a container is being started, or is about to be by this plan.
func (m *machine) starting(name string) bool {
	if m.Busy.Starting[name] {
		return true
	}
	last := len(m.plan.Steps) - 1
	return last >= 0 && m.plan.Steps[last].Kind == StartContainer && m.plan.Steps[last].Container == name
}

// startMain starts a container that this sandbox hasn't had. One that was done for good in an earlier sandbox stays done.
func (m *machine) startMain(spec *corev1.Container, sandbox *cri.Sandbox) {
	last := m.Seen.latest(spec.Name, "")
	if last != nil && last.State == cri.Exited && !restarts(m.Pod, spec, last.ExitCode) {
		return
	}
	m.start(spec, sandbox, last)
}

// ephemeralContainers starts those that never existed.
func (m *machine) ephemeralContainers(sandbox *cri.Sandbox) {
	for _, spec := range containers(m.Pod)[len(m.Pod.Spec.InitContainers)+len(m.Pod.Spec.Containers):] {
		if m.Seen.latest(spec.Name, "") == nil && !m.knownEphemeral(spec.Name) {
			m.start(spec, sandbox, nil)
		}
	}
}

// knownEphemeral reports whether the API says that an ephemeral container has run: it is never started twice.
func (m *machine) knownEphemeral(name string) bool {
	for _, s := range m.Pod.Status.EphemeralContainerStatuses {
		if s.Name == name && (s.State.Running != nil || s.State.Terminated != nil) {
			return true
		}
	}
	return false
}

// watch ends a running container that must be replaced.
func (m *machine) watch(spec *corev1.Container, now *cri.Container) {
	dead := m.health(now).Dead
	switch {
	case now.Annotations[cri.AnnotationHash] != "" && now.Annotations[cri.AnnotationHash] != hash(spec):
		m.kill(*now, grace(m.Pod), fmt.Sprintf("Container %s definition changed, will be restarted", spec.Name))
	case dead != "":
		m.kill(*now, probeGrace(m.Pod, spec, dead), fmt.Sprintf("Container %s failed %s probe, will be restarted", spec.Name, dead))
	}
}

// stale removes a container that was created and whose start this process doesn't know of.
func (m *machine) stale(spec *corev1.Container, now *cri.Container) {
	if now.State == cri.Created && !m.Busy.Starting[spec.Name] && !m.Busy.Removing[now.ID] {
		m.plan.add(Step{Kind: RemoveContainer, Container: spec.Name, ID: now.ID})
	}
}

func (m *machine) health(c *cri.Container) Health {
	if found, ok := m.Probes[c.ID]; ok {
		return found
	}
	return Health{Started: true, Ready: true}
}

func (m *machine) mainsExist(sandbox *cri.Sandbox) bool {
	for _, spec := range m.Pod.Spec.Containers {
		if m.Seen.latest(spec.Name, sandbox.ID) != nil {
			return true
		}
	}
	return false
}

func (m *machine) laterInitExists(i int, sandbox *cri.Sandbox) bool {
	for _, later := range m.Pod.Spec.InitContainers[i+1:] {
		if m.Seen.latest(later.Name, sandbox.ID) != nil {
			return true
		}
	}
	return false
}
