package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"skiff/kubelet/pod"
)

// recorder writes events about pods as the node's kubelet, between start and shutdown.
type recorder struct {
	client      kubernetes.Interface
	node        string
	broadcaster record.EventBroadcaster
	record.EventRecorder
}

func newRecorder(client kubernetes.Interface, node string) *recorder {
	return &recorder{client: client, node: node}
}

// start must come before the first event.
func (r *recorder) start() {
	r.broadcaster = record.NewBroadcaster()
	r.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: r.client.CoreV1().Events("")})
	r.EventRecorder = r.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: r.node})
}

// Event records what happened to a pod, or to one of its containers when that is named.
func (r *recorder) Event(p *corev1.Pod, container, kind, reason, message string) {
	ref := &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
	}
	if container != "" {
		ref.FieldPath = pod.FieldPath(p, container)
	}
	r.EventRecorder.Event(ref, kind, reason, message)
}

func (r *recorder) shutdown() { r.broadcaster.Shutdown() }
