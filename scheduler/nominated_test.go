package scheduler

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// asking is a pod that asks for CPUs, of a priority.
func asking(i int, cpu string, priority int32) *corev1.Pod {
	pod := benchPod(i)
	pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
	pod.Spec.Priority = &priority
	return pod
}

// TestPodsHearThatAPromiseEnded: who was turned down for the sake of a pod that a node was promised to is tried again when
// that pod goes, or is promised another node.
func TestPodsHearThatAPromiseEnded(t *testing.T) {
	for name, end := range map[string]func(s *Scheduler, promised *corev1.Pod){
		"deleted": func(s *Scheduler, promised *corev1.Pod) { s.podChanged(promised, nil) },
		"moved": func(s *Scheduler, promised *corev1.Pod) {
			after := promised.DeepCopy()
			after.ResourceVersion, after.Status.NominatedNodeName = "2", ""
			s.podChanged(promised, after)
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			s, err := New(Config{}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
			if err != nil {
				t.Fatal(err)
			}
			s.nodeChanged(nil, benchNode(0))
			promised := asking(1, "20", 10)
			promised.ResourceVersion, promised.Status.NominatedNodeName = "1", benchNode(0).Name
			s.podChanged(nil, promised)
			if p := s.queue.Pop(t.Context()); p.Info.Pod.UID != promised.UID { // its victims are still there
				t.Fatalf("got %s", p.Info.Pod.Name)
			} else {
				p.UnschedulablePlugins = sets.New("NodeResourcesFit")
				s.queue.Requeue(p)
			}
			s.podChanged(nil, asking(2, "20", 0))
			p := s.queue.Pop(t.Context())
			_, failed := s.try(t.Context(), &attempt{queued: p})
			if failed == nil {
				t.Fatal("the pod got a node that was promised to another")
			}
			p.UnschedulablePlugins = failed.diagnosis.UnschedulablePlugins
			s.queue.Requeue(p)
			end(s, promised)
			for _, waits := range s.queue.Pending()["unschedulable"] {
				if waits.UID == p.Info.Pod.UID {
					t.Error("the pod hears nothing of it")
				}
			}
		})
	}
}
