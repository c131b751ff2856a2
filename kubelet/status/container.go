package status

import (
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/cri"
)

type kind int

const (
	mainContainer kind = iota
	initContainer
	ephemeralContainer
)

// unknownExit is the exit code of a container that vanished.
const unknownExit = 137

// container makes the status of one container.
func (in Input) container(spec *corev1.Container, of kind) corev1.ContainerStatus {
	now, before := in.latest(spec.Name)
	out := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: new(bool)}
	if now == nil || now.State == cri.Created || now.State == cri.Unknown {
		in.absent(&out, of)
		if now != nil {
			out.RestartCount = now.RestartCount()
		}
		if before != nil && before.State == cri.Exited {
			out.LastTerminationState.Terminated = in.terminated(before)
		}
		return out
	}
	out.RestartCount = now.RestartCount()
	out.Image, out.ImageID, out.ContainerID = now.Image, now.ImageRef, in.id(now.ID)
	if out.Image == "" {
		out.Image = spec.Image
	}
	in.state(&out, now, before)
	in.ready(&out, spec, now, of)
	in.details(&out, spec, now, of)
	return out
}

func (in Input) id(id string) string { return in.Runtime + "://" + id }

// state fills in what the container does now and how it ended last.
func (in Input) state(out *corev1.ContainerStatus, now, before *cri.Container) {
	if before != nil && before.State == cri.Exited {
		out.LastTerminationState.Terminated = in.terminated(before)
	}
	if now.State == cri.Running {
		out.State.Running = &corev1.ContainerStateRunning{StartedAt: stamp(now.Started)}
		return
	}
	if waiting, ok := in.Waiting[now.Name]; ok && !in.Over {
		out.State.Waiting = &waiting
		out.LastTerminationState.Terminated = in.terminated(now)
		return
	}
	out.State.Terminated = in.terminated(now)
}

// absent is the state of a container that doesn't exist: it waits, or it is lost when the API says that it ran.
func (in Input) absent(out *corev1.ContainerStatus, of kind) {
	waiting, said := in.Waiting[out.Name]
	if !said {
		waiting.Reason = "ContainerCreating"
		if len(in.Pod.Spec.InitContainers) > 0 && (of == initContainer || (of == mainContainer && !in.Initialized)) {
			waiting.Reason = "PodInitializing"
		}
	}
	known := in.known(out.Name)
	if known == nil {
		out.State.Waiting = &waiting
		return
	}
	out.RestartCount, out.LastTerminationState = known.RestartCount, known.LastTerminationState
	if known.ContainerID == "" {
		out.State.Waiting = &waiting
		return
	}
	lost := known.State.Terminated
	if lost == nil {
		lost = known.LastTerminationState.Terminated
	}
	if known.State.Running != nil {
		lost = &corev1.ContainerStateTerminated{
			ExitCode: unknownExit, Reason: "ContainerStatusUnknown", ContainerID: known.ContainerID,
			Message: "The container could not be located when the pod was deleted.  The container used to be Running",
		}
	}
	if in.Over && lost != nil {
		out.State.Terminated, out.ImageID, out.ContainerID = lost, known.ImageID, known.ContainerID
		return
	}
	out.State.Waiting, out.LastTerminationState.Terminated = &waiting, lost
}

func (in Input) terminated(c *cri.Container) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
		StartedAt: stamp(c.Started), FinishedAt: stamp(c.Finished), ContainerID: in.id(c.ID),
	}
}

// stamp is a time as the API stores it: whole seconds.
func stamp(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.NewTime(time.Unix(0, 0).UTC())
	}
	return metav1.NewTime(t.Truncate(time.Second))
}

// ready fills in whether the container has started and is ready.
func (in Input) ready(out *corev1.ContainerStatus, spec *corev1.Container, now *cri.Container, of kind) {
	if now.State != cri.Running {
		out.Ready = of == initContainer && !sidecar(spec) && now.State == cri.Exited && now.ExitCode == 0
		return
	}
	health, probed := in.Health[now.ID]
	if !probed {
		health = Health{Started: true, Ready: true}
	}
	*out.Started = health.Started
	out.Ready = health.Ready && (of == mainContainer || sidecar(spec))
}

// details fills in resources, mounts and identity of a container that exists.
func (in Input) details(out *corev1.ContainerStatus, spec *corev1.Container, now *cri.Container, of kind) {
	if of != ephemeralContainer {
		out.AllocatedResources = spec.Resources.Requests.DeepCopy()
		out.Resources = spec.Resources.DeepCopy()
	}
	for _, mount := range spec.VolumeMounts {
		status := corev1.VolumeMountStatus{Name: mount.Name, MountPath: clean(mount.MountPath), ReadOnly: mount.ReadOnly}
		if mount.ReadOnly {
			disabled := corev1.RecursiveReadOnlyDisabled
			status.RecursiveReadOnly = &disabled
			if mount.RecursiveReadOnly != nil && *mount.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
				enabled := corev1.RecursiveReadOnlyEnabled
				status.RecursiveReadOnly = &enabled
			}
		}
		out.VolumeMounts = append(out.VolumeMounts, status)
	}
	if now.User != nil && now.State == cri.Running {
		out.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
			UID: now.User.UID, GID: now.User.GID, SupplementalGroups: now.User.SupplementalGroups,
		}}
	}
}

func clean(p string) string {
	if p == "" || path.IsAbs(p) {
		return p
	}
	return "/" + p
}

func sidecar(spec *corev1.Container) bool {
	return spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
