package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// machine is one run of Next.
type machine struct {
	Input
	plan Plan
}

// Next decides what to do now. It changes nothing.
func Next(in Input) Plan {
	m := &machine{Input: in, plan: Plan{Waiting: map[string]corev1.ContainerStateWaiting{}, End: in.Memory.End}}
	if m.plan.End == nil {
		m.plan.End = m.whyEnd()
	}
	if m.plan.End == nil {
		m.run()
	}
	if m.plan.End != nil {
		m.plan.Initialized = m.initialized()
		m.end()
	}
	return m.plan
}

// whyEnd finds what ends the pod, nil while it is to go on. That all its containers are done is found later.
func (m *machine) whyEnd() *End {
	switch {
	case m.Pod.DeletionTimestamp != nil:
		return &End{Since: m.Now, Grace: grace(m.Pod)}
	case m.Pod.Status.Phase == corev1.PodFailed || m.Pod.Status.Phase == corev1.PodSucceeded:
		return &End{
			Reason: m.Pod.Status.Reason, Message: m.Pod.Status.Message, Since: m.Now, Grace: grace(m.Pod),
			Failed: m.Pod.Status.Phase == corev1.PodFailed,
		}
	case m.Pod.Spec.ActiveDeadlineSeconds != nil && m.Pod.Status.StartTime != nil:
		deadline := m.Pod.Status.StartTime.Add(time.Duration(*m.Pod.Spec.ActiveDeadlineSeconds) * time.Second)
		if !m.Now.Before(deadline) {
			return &End{
				Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline",
				Since: m.Now, Grace: grace(m.Pod), Failed: true,
			}
		}
		m.plan.wake(deadline)
	}
	return nil
}

// run moves a pod that is to run forward.
func (m *machine) run() {
	m.collect()
	if m.finished() {
		m.plan.End = &End{Since: m.Now, Grace: grace(m.Pod)}
		return
	}
	if m.Memory.Volumes == nil {
		m.once(m.Busy.Mounting, Step{Kind: MountVolumes})
		return
	}
	sandbox := m.Seen.sandbox()
	if sandbox == nil || !sandbox.Ready {
		m.makeSandbox(sandbox)
		return
	}
	m.oldSandboxes(sandbox)
	m.initContainers(sandbox)
	if m.plan.Initialized {
		m.mainContainers(sandbox)
	}
	m.ephemeralContainers(sandbox)
}

// once begins a step of the pod as a whole unless it is under way or must not be tried again yet.
func (m *machine) once(busy bool, step Step) {
	if busy {
		return
	}
	if failed := m.Memory.Sandbox; failed != nil && m.Now.Before(failed.Retry) {
		m.plan.wake(failed.Retry)
		return
	}
	m.plan.add(step)
}

// makeSandbox replaces a missing or dead sandbox, once nothing of the dead one runs any more.
func (m *machine) makeSandbox(dead *cri.Sandbox) {
	attempt := uint32(0)
	if dead != nil {
		attempt = dead.Attempt + 1
		for _, c := range m.Seen.alive() {
			m.kill(c, grace(m.Pod), "")
		}
		if len(m.Seen.alive()) > 0 {
			return
		}
		if !m.Memory.Stopped[dead.ID] {
			m.stop(dead.ID)
			return
		}
	}
	m.once(m.Busy.Sandbox, Step{Kind: CreateSandbox, Attempt: attempt})
}

// oldSandboxes removes sandboxes that were replaced, as soon as no container of theirs is of interest.
func (m *machine) oldSandboxes(current *cri.Sandbox) {
	held := map[string]bool{}
	for _, c := range m.Seen.Containers {
		held[c.SandboxID] = true
	}
	for _, s := range m.Seen.Sandboxes {
		if s.ID == current.ID || held[s.ID] {
			continue
		}
		if s.Ready && !m.Memory.Stopped[s.ID] {
			m.stop(s.ID)
		} else if !m.Busy.Removing[s.ID] {
			m.plan.add(Step{Kind: RemoveSandbox, ID: s.ID})
		}
	}
}

// collect removes dead containers: all but the latest of a name and, once a later one runs, the one before it.
func (m *machine) collect() {
	keep := map[string]bool{}
	for _, spec := range containers(m.Pod) {
		last := m.Seen.latest(spec.Name, "")
		if last == nil {
			continue
		}
		keep[last.ID] = true
		var before *cri.Container
		for i := range m.Seen.Containers {
			c := &m.Seen.Containers[i]
			if c.Name == spec.Name && c.ID != last.ID && (before == nil || c.Attempt > before.Attempt) {
				before = c
			}
		}
		if before != nil {
			keep[before.ID] = true
		}
	}
	for _, c := range m.Seen.Containers {
		if c.State == cri.Exited && !keep[c.ID] && !m.Busy.Removing[c.ID] {
			m.plan.add(Step{Kind: RemoveContainer, Container: c.Name, ID: c.ID})
		}
	}
}

func (m *machine) stop(sandbox string) {
	if !m.Busy.Removing[sandbox] {
		m.plan.add(Step{Kind: StopSandbox, ID: sandbox})
	}
}

// kill ends a container, or shortens the time that one which is being ended still has.
func (m *machine) kill(c cri.Container, grace time.Duration, message string) {
	if until, busy := m.Busy.Killing[c.ID]; busy && !m.Now.Add(grace).Before(until.Add(-time.Second)) {
		return
	}
	m.plan.add(Step{Kind: KillContainer, Container: c.Name, ID: c.ID, Grace: grace, Message: message})
}

// start starts a container that isn't there or replaces one that exited, unless an earlier failure must be waited for.
func (m *machine) start(spec *corev1.Container, sandbox *cri.Sandbox, previous *cri.Container) {
	if m.Busy.Starting[spec.Name] {
		return
	}
	if failed := m.Memory.Failures[spec.Name]; failed != nil && m.Now.Before(failed.Retry) {
		m.plan.wake(failed.Retry)
		return
	}
	step := Step{Kind: StartContainer, Container: spec.Name, ID: sandbox.ID, Attempt: m.attempt(spec.Name)}
	if previous != nil {
		step.Previous = previous.Finished
	}
	m.plan.add(step)
}

// restart starts a container that exited once its back-off is over.
func (m *machine) restart(spec *corev1.Container, sandbox *cri.Sandbox, exited *cri.Container) {
	if m.Busy.Starting[spec.Name] {
		return
	}
	back := m.Memory.Restarts[spec.Name]
	if wait := back.Wait(exited.Finished, m.Now); wait > 0 {
		m.plan.wake(m.Now.Add(wait))
		m.plan.BackOff = append(m.plan.BackOff, spec.Name)
		m.plan.Waiting[spec.Name] = corev1.ContainerStateWaiting{
			Reason: CrashLoopBackOff, Message: backOffMessage(m.Pod, spec.Name, back.Delay),
		}
		return
	}
	m.start(spec, sandbox, exited)
}

func backOffMessage(pod *corev1.Pod, name string, delay time.Duration) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, name, pod.Name, pod.Namespace, pod.UID)
}
