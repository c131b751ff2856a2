// Package slim makes the objects that informers keep small: it drops what no component reads, and lets the pods of one
// owner, those of a namespace without one, and nodes share what is equal in them, which is most of what they are made of. Cached objects are never changed, so that
// nothing is lost by it.
package slim

import (
	"strings"
	"sync"
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
		switch object := o.(type) {
		case *corev1.Pod:
			s.slim(object)
			object.Status.Conditions = exact(object.Status.Conditions)
		case *corev1.Node:
			s.slimNode(object)
			object.Status.Conditions = exact(object.Status.Conditions)
		}
		return o, nil
	}
}

// mostTexts is how many texts are known before all are forgotten: names of nodes and images are many, but not endless.
const mostTexts = 1 << 14

// firstSweep is how many families are known before those are looked for whose pods are gone.
const firstSweep = 1024

// siblings knows a pod of every family: of an owner, or of a namespace's pods without one.
type siblings struct {
	mu    sync.Mutex
	last  map[types.UID]weak.Pointer[corev1.Pod]
	sweep int
	// texts are what many pods have, each as the one that all of them get. The package unique would let go of a text with
	// the next collection, though pods have it.
	texts map[string]string
	// node is the one that came last: nodes are mostly made alike.
	node weak.Pointer[corev1.Node]
}

func newSiblings() *siblings {
	return &siblings{last: map[types.UID]weak.Pointer[corev1.Pod]{}, sweep: firstSweep, texts: map[string]string{}}
}

// slim lets the pod share what it can with a sibling, and is the one that the next shares with.
func (s *siblings) slim(pod *corev1.Pod) {
	family := types.UID(pod.Namespace) // which is no UID
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		family = owner.UID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intern(pod)
	if sibling := s.swap(family, pod); sibling != nil {
		share(pod, sibling)
	}
}

// slimNode lets the node share what it can with the one before.
func (s *siblings) slimNode(node *corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.internNode(node)
	if before := s.node.Value(); before != nil {
		shareNode(node, before)
	}
	s.node = weak.Make(node)
}

// swap answers the family's pod so far. mu is held.
func (s *siblings) swap(family types.UID, pod *corev1.Pod) *corev1.Pod {
	before := s.last[family].Value()
	s.last[family] = weak.Make(pod)
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

// intern lets texts that many pods have be one. mu is held.
func (s *siblings) intern(pod *corev1.Pod) {
	one(s, &pod.Namespace)
	one(s, &pod.GenerateName)
	one(s, &pod.Spec.NodeName)
	one(s, &pod.Spec.ServiceAccountName)
	one(s, &pod.Spec.DeprecatedServiceAccount)
	one(s, &pod.Spec.SchedulerName)
	one(s, &pod.Spec.RestartPolicy)
	one(s, &pod.Spec.DNSPolicy)
	one(s, &pod.Status.Phase)
	one(s, &pod.Status.QOSClass)
	one(s, &pod.Status.HostIP)
	for i := range pod.Status.HostIPs {
		one(s, &pod.Status.HostIPs[i].IP)
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		one(s, &c.Type)
		one(s, &c.Status)
		one(s, &c.Reason)
	}
	for _, all := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range all {
			one(s, &all[i].Name)
			one(s, &all[i].Image)
			one(s, &all[i].ImageID)
		}
	}
}

// internNode does the same for what many nodes have. mu is held.
func (s *siblings) internNode(node *corev1.Node) {
	for i := range node.Status.Conditions {
		c := &node.Status.Conditions[i]
		one(s, &c.Type)
		one(s, &c.Status)
		one(s, &c.Reason)
		one(s, &c.Message)
	}
	for i := range node.Status.Addresses {
		one(s, &node.Status.Addresses[i].Type)
	}
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		one(s, &t.Key)
		one(s, &t.Value)
		one(s, &t.Effect)
	}
}

// one makes text the one that all equal ones are.
func one[S ~string](s *siblings, text *S) {
	known, ok := s.texts[string(*text)]
	if !ok {
		if len(s.texts) == mostTexts {
			clear(s.texts)
		}
		known = strings.Clone(string(*text)) // not a part of what it was read from
		s.texts[known] = known
	}
	*text = S(known)
}

// exact is the slice without room to grow: decoding doubles it as it goes.
func exact[T any](s []T) []T {
	if len(s) == cap(s) {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}
