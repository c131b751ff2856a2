package plugins

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/util/retry"

	"skiff/scheduler/framework"
)

// inMemoryName is the special claim's name until the API has it; no claim in the API can have it.
const inMemoryName = "<extended-resources>"

// ofDevices reports the names of resources that a device class may stand behind (KEP-5004).
func ofDevices(name corev1.ResourceName) bool {
	return framework.IsExtendedResource(name) || strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix)
}

// findSpecial answers the claim for the extended resources of device classes that the pod asks for: the one of an earlier
// attempt or a new one without requests, which PreBind creates. Nil when the pod asks for no such resource.
func (p *DynamicResources) findSpecial(pod *framework.PodInfo) *resourcev1.ResourceClaim {
	asks := false
	for name, n := range pod.Requests.Scalar {
		asks = asks || (n != 0 && ofDevices(name) && p.devices.className(name) != "")
	}
	if !asks {
		return nil
	}
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: pod.Pod.Name, UID: pod.Pod.UID, Controller: new(true)}
	earlier := p.devices.claims.find(pod.Pod.Namespace, func(claim *resourcev1.ResourceClaim) bool {
		return claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] == "true" &&
			slices.ContainsFunc(claim.OwnerReferences, func(o metav1.OwnerReference) bool {
				return o.Name == owner.Name && o.UID == owner.UID && o.Controller != nil && *o.Controller
			})
	})
	if earlier != nil {
		return earlier
	}
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Pod.Namespace, Name: inMemoryName, UID: uuid.NewUUID(), GenerateName: pod.Pod.Name + "-extended-resources-",
		OwnerReferences: []metav1.OwnerReference{owner},
		Annotations:     map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
	}}
}

// specialFor answers the special claim as it would be on the node: with requests for the resources that the node has no
// device plugin for. Nil when the claim isn't needed there.
func (p *DynamicResources) specialFor(state *podDevices, pod *framework.PodInfo, node *framework.NodeInfo) (*resourcev1.ResourceClaim, []corev1.ContainerExtendedResourceRequest, *framework.Status) {
	special := state.specialClaim()
	if special == nil {
		return nil, nil, nil
	}
	if special.Spec.Devices.Requests != nil {
		// It is of an earlier attempt, and PostFilter deletes it.
		return nil, nil, p.unfit("cannot schedule extended resource claim")
	}
	classes := map[corev1.ResourceName]string{}
	for name, n := range pod.Requests.Scalar {
		if n == 0 || !ofDevices(name) {
			continue
		}
		offered, known := node.Allocatable.Scalar[name]
		switch class := p.devices.className(name); {
		case class != "" && offered == 0:
			classes[name] = class
		case !known:
			return nil, nil, p.unfit("cannot fit resource")
		}
	}
	if (len(classes) == 0 && state.onlySpecial()) || special.Status.Allocation != nil {
		return nil, nil, nil
	}
	requests, mappings := deviceRequests(pod.Pod, classes)
	claim := special.DeepCopy()
	claim.Spec.Devices.Requests = requests
	return claim, mappings, nil
}

// deviceRequests turns the containers' requests for extended resources into requests for devices, and says which device
// request serves which container. Init containers that end use the devices of the containers after them before they ask
// for more, and of what they ask for more the most is shared by all of them.
func deviceRequests(pod *corev1.Pod, classes map[corev1.ResourceName]string) ([]resourcev1.DeviceRequest, []corev1.ContainerExtendedResourceRequest) {
	var requests []resourcev1.DeviceRequest
	var mappings []corev1.ContainerExtendedResourceRequest
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		r := resourceDevices{name: name, class: classes[name]}
		more, used := r.ofPod(pod)
		requests, mappings = append(requests, more...), append(mappings, used...)
	}
	slices.SortFunc(requests, func(a, b resourcev1.DeviceRequest) int { return cmp.Compare(a.Name, b.Name) })
	return requests, mappings
}

// resourceDevices makes the device requests of one extended resource.
type resourceDevices struct {
	name  corev1.ResourceName
	class string
}

func (r resourceDevices) ofPod(pod *corev1.Pod) ([]resourcev1.DeviceRequest, []corev1.ContainerExtendedResourceRequest) {
	containers := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	ends := func(i int) bool {
		policy := containers[i].RestartPolicy
		return i < len(pod.Spec.InitContainers) && (policy == nil || *policy != corev1.ContainerRestartPolicyAlways)
	}
	lasting := make([]*resourcev1.DeviceRequest, len(containers))
	var mappings, brief []corev1.ContainerExtendedResourceRequest
	for i := range containers {
		if !ends(i) {
			request, used := r.ofContainer(i, &containers[i], nil)
			lasting[i], mappings = request, append(mappings, used...)
		}
	}
	var most *resourcev1.DeviceRequest
	replaced := map[string]bool{}
	for i := range containers {
		if !ends(i) {
			continue
		}
		request, used := r.ofContainer(i, &containers[i], lasting[i:])
		if request != nil {
			replaced[request.Name] = true
			if most == nil || most.Exactly.Count < request.Exactly.Count {
				most = request
			}
		}
		brief = append(brief, used...)
	}
	var requests []resourcev1.DeviceRequest
	if most != nil {
		requests = append(requests, *most)
		for i := range brief {
			if replaced[brief[i].RequestName] {
				brief[i].RequestName = most.Name
			}
		}
	}
	for _, request := range lasting {
		if request != nil {
			requests = append(requests, *request)
		}
	}
	return requests, append(mappings, brief...)
}

// ofContainer answers what the container at the index asks for beyond the requests it can reuse, nil when these suffice.
func (r resourceDevices) ofContainer(index int, container *corev1.Container, reusable []*resourcev1.DeviceRequest) (*resourcev1.DeviceRequest, []corev1.ContainerExtendedResourceRequest) {
	quantity := container.Resources.Requests[r.name]
	want, ok := quantity.AsInt64()
	if !ok || want == 0 {
		return nil, nil
	}
	var mappings []corev1.ContainerExtendedResourceRequest
	serve := func(request string) {
		mappings = append(mappings, corev1.ContainerExtendedResourceRequest{
			ContainerName: container.Name, ResourceName: string(r.name), RequestName: request,
		})
	}
	for _, other := range reusable {
		if other == nil {
			continue
		}
		serve(other.Name)
		if want -= other.Exactly.Count; want <= 0 {
			return nil, mappings
		}
	}
	place := slices.Index(slices.Sorted(maps.Keys(container.Resources.Requests)), r.name)
	request := &resourcev1.DeviceRequest{
		Name: fmt.Sprintf("container-%d-request-%d", index, place),
		Exactly: &resourcev1.ExactDeviceRequest{
			DeviceClassName: r.class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: want,
		},
	}
	serve(request.Name)
	return request, mappings
}

// deleteClaim takes the finalizer off, which would keep the claim, and deletes it. Deleting a missing claim succeeds.
func (p *DynamicResources) deleteClaim(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	name, claims, fresh := claim.Name, p.client.ResourceV1().ResourceClaims(claim.Namespace), true
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if !fresh {
			latest, err := claims.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("get resourceclaim %s/%s: %w", claim.Namespace, name, err)
			}
			claim = latest
		}
		fresh = false
		claim.Finalizers = slices.DeleteFunc(claim.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
		if _, err := claims.Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update resourceclaim %s/%s: %w", claim.Namespace, name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := claims.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}
