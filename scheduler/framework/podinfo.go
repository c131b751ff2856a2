package framework

import (
	"fmt"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	schedhelpers "k8s.io/component-helpers/scheduling/corev1"

	resourcehelpers "k8s.io/component-helpers/resource"
)

// What a container without a request counts as when nodes are scored, so that such pods don't pile up on one node.
const (
	DefaultMilliCPURequest int64 = 100
	DefaultMemoryRequest   int64 = 200 * 1024 * 1024
)

// PodInfo is a pod with everything plugins ask repeatedly computed once. It and the pod are never written.
type PodInfo struct {
	Pod *corev1.Pod
	// Requests is what the pod needs, with init containers, sidecars, overhead and pod-level resources counted in.
	Requests Resource
	// NonZeroCPU (millicores) and NonZeroMemory (bytes) are the requests with defaults for containers that name none.
	NonZeroCPU, NonZeroMemory int64
	// ScoredCPU and ScoredMemory are what the pod counts as while nodes are rated for it. They differ from the above only
	// with pod-level requests, where a default then also stands in for containers beside others that name a request.
	ScoredCPU, ScoredMemory int64
	Priority                int32
	Ports                   []HostPort
	// Claims are the names of the persistent volume claims the pod names itself.
	Claims []string

	RequiredAffinity, RequiredAntiAffinity   []AffinityTerm
	PreferredAffinity, PreferredAntiAffinity []WeightedAffinityTerm

	kind unique.Handle[string]
}

// AffinityTerm is a parsed inter-pod affinity term.
type AffinityTerm struct {
	Namespaces        sets.Set[string]
	Selector          labels.Selector
	NamespaceSelector labels.Selector
	TopologyKey       string
}

// WeightedAffinityTerm is a parsed preferred inter-pod affinity term.
type WeightedAffinityTerm struct {
	AffinityTerm
	Weight int32
}

// Matches reports whether pod, whose namespace carries nsLabels, is one the term speaks of.
func (t *AffinityTerm) Matches(pod *corev1.Pod, nsLabels labels.Set) bool {
	return (t.Namespaces.Has(pod.Namespace) || t.NamespaceSelector.Matches(nsLabels)) && t.Selector.Matches(labels.Set(pod.Labels))
}

// NewPodInfo computes the view of a pod. The error names a selector that can't be parsed; the PodInfo is usable without it.
func NewPodInfo(pod *corev1.Pod) (*PodInfo, error) {
	pi := &PodInfo{Pod: pod, Priority: schedhelpers.PodPriority(pod), Ports: hostPorts(pod), kind: kindOf(pod)}
	pi.computeRequests()
	for i := range pod.Spec.Volumes {
		if pvc := pod.Spec.Volumes[i].PersistentVolumeClaim; pvc != nil {
			pi.Claims = append(pi.Claims, pvc.ClaimName)
		}
	}
	return pi, pi.parseAffinity()
}

// Refresh answers the view of a newer version of the pod, sharing what was computed when nothing it was computed from has
// changed: most updates of a running pod are of its conditions.
func (p *PodInfo) Refresh(pod *corev1.Pod) (*PodInfo, error) {
	if pod.Generation == 0 || pod.Generation != p.Pod.Generation || pod.UID != p.Pod.UID ||
		resourcehelpers.IsPodResizeInfeasible(pod) != resourcehelpers.IsPodResizeInfeasible(p.Pod) ||
		!sameStatusResources(pod.Status.ContainerStatuses, p.Pod.Status.ContainerStatuses) ||
		!sameStatusResources(pod.Status.InitContainerStatuses, p.Pod.Status.InitContainerStatuses) ||
		pod.Status.Resources != nil || p.Pod.Status.Resources != nil {
		return NewPodInfo(pod)
	}
	fresh := *p
	fresh.Pod = pod
	if !equalStrings(pod.Labels, p.Pod.Labels) || (pod.DeletionTimestamp == nil) != (p.Pod.DeletionTimestamp == nil) {
		fresh.kind = kindOf(pod) // new labels are no new generation
	}
	return &fresh, nil
}

func sameStatusResources(a, b []corev1.ContainerStatus) bool {
	return slices.EqualFunc(a, b, func(a, b corev1.ContainerStatus) bool {
		if a.Name != b.Name || !equalResources(a.AllocatedResources, b.AllocatedResources) || (a.Resources == nil) != (b.Resources == nil) {
			return false
		}
		return a.Resources == nil || equalResources(a.Resources.Requests, b.Resources.Requests)
	})
}

// WithNode answers a copy of the view whose pod sits on node, sharing all that was computed.
func (p *PodInfo) WithNode(node string) *PodInfo {
	placed := *p
	pod := *p.Pod
	pod.Spec.NodeName = node
	placed.Pod = &pod
	return &placed
}

// HasAffinity reports whether the pod has any inter-pod affinity or anti-affinity term.
func (p *PodInfo) HasAffinity() bool {
	return len(p.RequiredAffinity)+len(p.RequiredAntiAffinity)+len(p.PreferredAffinity)+len(p.PreferredAntiAffinity) > 0
}

func (p *PodInfo) computeRequests() {
	opts := resourcehelpers.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	requests := resourcehelpers.PodRequests(p.Pod, opts)
	p.Requests = NewResource(requests)

	podLevel := resourcehelpers.IsPodLevelRequestsSet(p.Pod)
	opts.NonMissingContainerRequests = nonMissing(requests, podLevel)
	if len(opts.NonMissingContainerRequests) > 0 {
		requests = resourcehelpers.PodRequests(p.Pod, opts)
	}
	nonZero := NewResource(requests)
	p.NonZeroCPU, p.NonZeroMemory = nonZero.MilliCPU, nonZero.Memory
	if podLevel {
		opts.NonMissingContainerRequests = nonMissing(nil, false)
		nonZero = NewResource(resourcehelpers.PodRequests(p.Pod, opts))
	}
	p.ScoredCPU, p.ScoredMemory = nonZero.MilliCPU, nonZero.Memory
}

// nonMissing answers the defaults to fill in: all of them without pod-level requests, else those the pod level leaves open.
func nonMissing(requests corev1.ResourceList, podLevel bool) corev1.ResourceList {
	defaults := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(DefaultMilliCPURequest, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(DefaultMemoryRequest, resource.BinarySI),
	}
	if podLevel {
		for name := range defaults {
			if _, set := requests[name]; set {
				delete(defaults, name)
			}
		}
	}
	return defaults
}

func (p *PodInfo) parseAffinity() error {
	affinity := p.Pod.Spec.Affinity
	if affinity == nil {
		return nil
	}
	var err error
	if a := affinity.PodAffinity; a != nil {
		if p.RequiredAffinity, err = requiredTerms(p.Pod, a.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("parsing required pod affinity: %w", err)
		}
		if p.PreferredAffinity, err = preferredTerms(p.Pod, a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("parsing preferred pod affinity: %w", err)
		}
	}
	if a := affinity.PodAntiAffinity; a != nil {
		if p.RequiredAntiAffinity, err = requiredTerms(p.Pod, a.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("parsing required pod anti-affinity: %w", err)
		}
		if p.PreferredAntiAffinity, err = preferredTerms(p.Pod, a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("parsing preferred pod anti-affinity: %w", err)
		}
	}
	return nil
}

func requiredTerms(pod *corev1.Pod, terms []corev1.PodAffinityTerm) ([]AffinityTerm, error) {
	parsed := make([]AffinityTerm, 0, len(terms))
	for i := range terms {
		t, err := parseTerm(pod, &terms[i])
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, t)
	}
	return parsed, nil
}

func preferredTerms(pod *corev1.Pod, terms []corev1.WeightedPodAffinityTerm) ([]WeightedAffinityTerm, error) {
	parsed := make([]WeightedAffinityTerm, 0, len(terms))
	for i := range terms {
		t, err := parseTerm(pod, &terms[i].PodAffinityTerm)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, WeightedAffinityTerm{AffinityTerm: t, Weight: terms[i].Weight})
	}
	return parsed, nil
}

// parseTerm: without namespaces and namespace selector a term speaks of the pod's own namespace.
func parseTerm(pod *corev1.Pod, term *corev1.PodAffinityTerm) (AffinityTerm, error) {
	selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	if err != nil {
		return AffinityTerm{}, err
	}
	nsSelector, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
	if err != nil {
		return AffinityTerm{}, err
	}
	namespaces := sets.New(term.Namespaces...)
	if len(term.Namespaces) == 0 && term.NamespaceSelector == nil {
		namespaces.Insert(pod.Namespace)
	}
	return AffinityTerm{Namespaces: namespaces, Selector: selector, NamespaceSelector: nsSelector, TopologyKey: term.TopologyKey}, nil
}
