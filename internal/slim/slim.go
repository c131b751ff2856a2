// Package slim makes the objects that informers keep small: it drops what no component reads, and lets the pods of one
// owner share what is equal in them, which is most of what they are made of. Cached objects are never changed, so that
// nothing is lost by it.
package slim

import (
	"sync"
	"unique"
	"weak"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// Transform answers what an informer factory is to be given (informers.WithTransform). It may be used by many informers.
func Transform() cache.TransformFunc {
	s := newSiblings()
	return func(o any) (any, error) {
		m, err := meta.Accessor(o)
		if err != nil {
			return o, nil //nolint:nilerr // what is no object is none of our business
		}
		m.SetManagedFields(nil)
		if pod, ok := o.(*corev1.Pod); ok {
			intern(pod)
			s.share(pod)
			pod.Status.Conditions = exact(pod.Status.Conditions)
		}
		return o, nil
	}
}

// firstSweep is how many owners are known before those are looked for whose pods are gone.
const firstSweep = 1024

// siblings knows a pod of every owner.
type siblings struct {
	mu    sync.Mutex
	last  map[types.UID]weak.Pointer[corev1.Pod]
	sweep int
}

func newSiblings() *siblings {
	return &siblings{last: map[types.UID]weak.Pointer[corev1.Pod]{}, sweep: firstSweep}
}

// share lets the pod share what it can with a sibling, and is the one that the next shares with.
func (s *siblings) share(pod *corev1.Pod) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sibling := s.swap(owner.UID, pod); sibling != nil {
		share(pod, sibling)
	}
}

// swap answers the owner's pod so far. mu is held.
func (s *siblings) swap(owner types.UID, pod *corev1.Pod) *corev1.Pod {
	before := s.last[owner].Value()
	s.last[owner] = weak.Make(pod)
	if len(s.last) >= s.sweep {
		for uid, p := range s.last {
			if p.Value() == nil {
				delete(s.last, uid)
			}
		}
		s.sweep = max(firstSweep, 2*len(s.last))
	}
	return before
}

// intern lets strings that many pods have be one.
func intern(pod *corev1.Pod) {
	one(&pod.Namespace)
	one(&pod.GenerateName)
	one(&pod.Spec.NodeName)
	one(&pod.Spec.ServiceAccountName)
	one(&pod.Spec.DeprecatedServiceAccount)
	one(&pod.Spec.SchedulerName)
	one(&pod.Spec.RestartPolicy)
	one(&pod.Spec.DNSPolicy)
	one(&pod.Status.Phase)
	one(&pod.Status.QOSClass)
	one(&pod.Status.HostIP)
	for i := range pod.Status.HostIPs {
		one(&pod.Status.HostIPs[i].IP)
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		one(&c.Type)
		one(&c.Status)
		one(&c.Reason)
	}
	for _, all := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range all {
			one(&all[i].Name)
			one(&all[i].Image)
			one(&all[i].ImageID)
		}
	}
}

// one makes s the string that all equal ones are.
func one[S ~string](s *S) {
	*s = S(unique.Make(string(*s)).Value())
}

// exact is the slice without room to grow: decoding doubles it as it goes.
func exact[T any](s []T) []T {
	if len(s) == cap(s) {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}
