// Package status says what a pod's status is and writes it.
//
// Compute is pure: from the pod's spec, what the runtime reports and what the pod machine knows it makes the PodStatus that
// users of kubectl expect. Writer patches it to the API, one request per pod at a time and the latest status only, and deletes
// a pod's object once nothing of the pod runs any more.
package status

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/cri"
)

// Input is what a status depends on.
type Input struct {
	// Pod is the pod with the status that the API has.
	Pod *corev1.Pod
	// Sandbox is the pod's newest sandbox, nil when there is none.
	Sandbox    *cri.Sandbox
	Containers []cri.Container
	Phase      corev1.PodPhase
	// Initialized is true when all init containers are done.
	Initialized bool
	// Waiting says why containers that don't run don't.
	Waiting map[string]corev1.ContainerStateWaiting
	// Health is what probes say of running containers, by id; those without an entry are well.
	Health map[string]Health
	// Reason and Message are why the node failed the pod, if it did.
	Reason, Message string
	// Over says that nothing of the pod runs or will run.
	Over    bool
	HostIPs []string
	// Runtime is the prefix of container ids, such as "containerd".
	Runtime string
	Now     time.Time
}

// Health is what probes say of a container.
type Health struct{ Started, Ready bool }

// Compute makes the pod's status.
func Compute(in Input) corev1.PodStatus {
	old := in.Pod.Status
	out := corev1.PodStatus{
		ObservedGeneration: in.Pod.Generation, Phase: in.Phase, Reason: in.Reason, Message: in.Message,
		NominatedNodeName: old.NominatedNodeName, StartTime: old.StartTime, QOSClass: old.QOSClass,
		ResourceClaimStatuses: old.ResourceClaimStatuses, ExtendedResourceClaimStatus: old.ExtendedResourceClaimStatus,
		Resize: old.Resize,
	}
	if out.StartTime == nil {
		now := metav1.NewTime(in.Now.Truncate(time.Second))
		out.StartTime = &now
	}
	if out.QOSClass == "" {
		out.QOSClass = QOS(in.Pod)
	}
	addresses(in, &out)
	for i := range in.Pod.Spec.InitContainers {
		out.InitContainerStatuses = append(out.InitContainerStatuses, in.container(&in.Pod.Spec.InitContainers[i], initContainer))
	}
	for i := range in.Pod.Spec.Containers {
		out.ContainerStatuses = append(out.ContainerStatuses, in.container(&in.Pod.Spec.Containers[i], mainContainer))
	}
	for i := range in.Pod.Spec.EphemeralContainers {
		c := corev1.Container(in.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		out.EphemeralContainerStatuses = append(out.EphemeralContainerStatuses, in.container(&c, ephemeralContainer))
	}
	out.Conditions = conditions(in, &out)
	return out
}

func addresses(in Input, out *corev1.PodStatus) {
	for i, ip := range in.HostIPs {
		if i == 0 {
			out.HostIP = ip
		}
		out.HostIPs = append(out.HostIPs, corev1.HostIP{IP: ip})
	}
	var ips []string
	switch {
	case in.Pod.Spec.HostNetwork:
		if in.Sandbox != nil {
			ips = in.HostIPs
		}
	case in.Sandbox != nil && len(in.Sandbox.IPs) > 0:
		ips = in.Sandbox.IPs
	default:
		out.PodIP, out.PodIPs = in.Pod.Status.PodIP, in.Pod.Status.PodIPs
		if in.Sandbox == nil && !in.Over {
			out.PodIP, out.PodIPs = "", nil
		}
	}
	for i, ip := range ips {
		if i == 0 {
			out.PodIP = ip
		}
		out.PodIPs = append(out.PodIPs, corev1.PodIP{IP: ip})
	}
}

// latest answers the newest container of a name and the one before it.
func (in Input) latest(name string) (now, before *cri.Container) {
	for i := range in.Containers {
		c := &in.Containers[i]
		if c.Name != name {
			continue
		}
		if now == nil || newer(c, now) {
			now, before = c, now
		} else if before == nil || newer(c, before) {
			before = c
		}
	}
	return now, before
}

func newer(a, b *cri.Container) bool {
	return a.Attempt > b.Attempt || (a.Attempt == b.Attempt && a.Created.After(b.Created))
}

// known is what the API says of a container.
func (in Input) known(name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{in.Pod.Status.InitContainerStatuses, in.Pod.Status.ContainerStatuses, in.Pod.Status.EphemeralContainerStatuses} {
		if i := slices.IndexFunc(list, func(s corev1.ContainerStatus) bool { return s.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}
