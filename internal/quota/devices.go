package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/utils/clock"
)

const (
	claimCount     = corev1.ResourceName("count/resourceclaims.resource.k8s.io")
	perDeviceClass = corev1.ResourceClaimsPerClass
	implicit       = corev1.ResourceImplicitExtendedClaimsPerClass
)

// DeviceClasses says which extended resources stand for device classes.
type DeviceClasses interface {
	GetDeviceClass(corev1.ResourceName) *resourcev1.DeviceClass
	GetExtendedResource(class string) string
}

// Devices is what the meter of resource claims looks up.
type Devices struct {
	Classes DeviceClasses
	Pods    corelisters.PodLister
	Claims  resourcelisters.ResourceClaimLister
	Clock   clock.PassiveClock
}

// Meter is the meter of resource claims.
func (d Devices) Meter() Meter {
	return Meter{
		Resource: schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"},
		Charges:  d.charges,
		Usage: func(o runtime.Object) (corev1.ResourceList, error) {
			claim, err := as[*resourcev1.ResourceClaim](o)
			if err != nil {
				return nil, err
			}
			return d.usage(claim), nil
		},
	}
}

func (d Devices) charges(n corev1.ResourceName) bool {
	if n == claimCount || strings.HasSuffix(string(n), perDeviceClass) {
		return true
	}
	if class, ok := strings.CutPrefix(string(n), implicit); ok && d.Classes.GetExtendedResource(class) != "" {
		return true
	}
	return extendedRequest(n) && d.Classes.GetDeviceClass(n[len(requests):]) != nil
}

func (d Devices) usage(claim *resourcev1.ResourceClaim) corev1.ResourceList {
	devices := map[string]int64{}
	for i := range claim.Spec.Devices.Requests {
		for class, n := range worst(&claim.Spec.Devices.Requests[i]) {
			devices[class] += n
		}
	}
	used := corev1.ResourceList{claimCount: one()}
	charged := d.chargedToPod(claim)
	for class, n := range devices {
		used[corev1.ResourceName(class+perDeviceClass)] = number(n)
		names := []corev1.ResourceName{corev1.ResourceName(implicit + class)}
		if r := d.Classes.GetExtendedResource(class); r != "" {
			names = append(names, corev1.ResourceName(requests+r))
		}
		for _, name := range names {
			left := number(n)
			left.Sub(charged[name])
			if class != "" && left.Sign() > 0 {
				used[name] = left
			}
		}
	}
	return used
}

// worst is the largest number of devices of each class that a request may be given.
func worst(r *resourcev1.DeviceRequest) map[string]int64 {
	out := map[string]int64{}
	for _, s := range r.FirstAvailable {
		if n := most(s.AllocationMode, s.Count); n > out[s.DeviceClassName] {
			out[s.DeviceClassName] = n
		}
	}
	if e := r.Exactly; len(r.FirstAvailable) == 0 && e != nil {
		out[e.DeviceClassName] = most(e.AllocationMode, e.Count)
	}
	return out
}

func most(mode resourcev1.DeviceAllocationMode, count int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return count
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0 // a mode of a later version
}

// chargedToPod is what the pod already pays that the scheduler made this claim for: the devices are the pod's
// extended resources. Only the one claim that is the pod's counts as such.
func (d Devices) chargedToPod(claim *resourcev1.ResourceClaim) corev1.ResourceList {
	owner := podOwner(claim)
	if owner == nil || d.Pods == nil {
		return nil
	}
	pod, err := d.Pods.Pods(claim.Namespace).Get(owner.Name)
	if err != nil || pod.UID != owner.UID {
		return nil
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil && s.ResourceClaimName != claim.Name {
		return nil
	} else if s == nil && !d.first(claim, owner) {
		return nil
	}
	return PodUsage(pod, d.Clock.Now())
}

// first says whether no other claim of the pod is older.
func (d Devices) first(claim *resourcev1.ResourceClaim, owner *metav1.OwnerReference) bool {
	all, err := d.Claims.ResourceClaims(claim.Namespace).List(labels.Everything())
	if err != nil {
		return false
	}
	for _, c := range all {
		if o := podOwner(c); o == nil || o.UID != owner.UID {
			continue
		}
		if age := c.CreationTimestamp.Compare(claim.CreationTimestamp.Time); age < 0 || (age == 0 && c.Name < claim.Name) {
			return false
		}
	}
	return true
}

func podOwner(claim *resourcev1.ResourceClaim) *metav1.OwnerReference {
	if claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" {
		return nil
	}
	owner := metav1.GetControllerOfNoCopy(claim)
	if owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" {
		return nil
	}
	return owner
}
