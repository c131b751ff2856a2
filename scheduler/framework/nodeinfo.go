package framework

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeInfo is a node with the pods placed on it and their sums. It is immutable: With... answers a changed copy that
// shares everything unchanged, so the cache, a snapshot and a what-if of preemption can hold versions side by side.
type NodeInfo struct {
	// Node is nil while pods are known on a node that is not (or no longer) known itself.
	Node *corev1.Node
	Pods []*PodInfo
	// PodsWithAffinity and PodsWithRequiredAntiAffinity are the subsets inter-pod affinity has to look at.
	PodsWithAffinity, PodsWithRequiredAntiAffinity []*PodInfo
	// PodsWithClaims are the pods that name persistent volume claims.
	PodsWithClaims            []*PodInfo
	Requested                 Resource
	NonZeroCPU, NonZeroMemory int64
	Allocatable               Resource
	Ports                     []HostPort
	// Images maps every name of every image on the node to its size in bytes.
	Images map[string]int64
	// Generation grows with every version of any node the cache makes.
	Generation int64
}

// Name answers the node's name, "" when the node is unknown.
func (n *NodeInfo) Name() string {
	if n.Node == nil {
		return ""
	}
	return n.Node.Name
}

// WithNode answers a version with another node object; nil forgets the node and keeps its pods.
func (n *NodeInfo) WithNode(node *corev1.Node) *NodeInfo {
	c := *n
	c.Node, c.Allocatable, c.Images = node, Resource{}, nil
	if node != nil {
		c.Allocatable = NewResource(node.Status.Allocatable)
		c.Images = imageSizes(node)
	}
	return &c
}

// WithPod answers a version with one pod more.
func (n *NodeInfo) WithPod(pod *PodInfo) *NodeInfo {
	c := *n
	c.Pods = with(n.Pods, pod)
	if pod.HasAffinity() {
		c.PodsWithAffinity = with(n.PodsWithAffinity, pod)
	}
	if len(pod.RequiredAntiAffinity) > 0 {
		c.PodsWithRequiredAntiAffinity = with(n.PodsWithRequiredAntiAffinity, pod)
	}
	if len(pod.Claims) > 0 {
		c.PodsWithClaims = with(n.PodsWithClaims, pod)
	}
	c.Requested = n.Requested.Plus(pod.Requests)
	c.NonZeroCPU += pod.NonZeroCPU
	c.NonZeroMemory += pod.NonZeroMemory
	if len(pod.Ports) > 0 {
		c.Ports = slices.Concat(n.Ports, pod.Ports)
	}
	return &c
}

// WithoutPod answers a version without the pod of that UID; the same version when it isn't there.
func (n *NodeInfo) WithoutPod(uid types.UID) *NodeInfo {
	i := slices.IndexFunc(n.Pods, func(p *PodInfo) bool { return p.Pod.UID == uid })
	if i < 0 {
		return n
	}
	pod := n.Pods[i]
	c := *n
	c.Pods = without(n.Pods, uid)
	c.PodsWithAffinity = without(n.PodsWithAffinity, uid)
	c.PodsWithRequiredAntiAffinity = without(n.PodsWithRequiredAntiAffinity, uid)
	c.PodsWithClaims = without(n.PodsWithClaims, uid)
	c.Requested = n.Requested.Minus(pod.Requests)
	c.NonZeroCPU -= pod.NonZeroCPU
	c.NonZeroMemory -= pod.NonZeroMemory
	if len(pod.Ports) > 0 {
		c.Ports = nil
		for _, p := range c.Pods {
			c.Ports = append(c.Ports, p.Ports...)
		}
	}
	return &c
}

func with(pods []*PodInfo, pod *PodInfo) []*PodInfo {
	next := make([]*PodInfo, len(pods)+1)
	copy(next, pods)
	next[len(pods)] = pod
	return next
}

func without(pods []*PodInfo, uid types.UID) []*PodInfo {
	i := slices.IndexFunc(pods, func(p *PodInfo) bool { return p.Pod.UID == uid })
	if i < 0 {
		return pods
	}
	return slices.Concat(pods[:i], pods[i+1:])
}

func imageSizes(node *corev1.Node) map[string]int64 {
	sizes := make(map[string]int64)
	for _, image := range node.Status.Images {
		for _, name := range image.Names {
			sizes[name] = image.SizeBytes
		}
	}
	return sizes
}
