package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/klog/v2"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// DynamicResources gives pods the devices that their resource claims ask for (KEP-4381), and those that stand behind
// extended resources (KEP-5004). The search for devices is that of k8s.io/dynamic-resource-allocation.
//
//	PreFilter  looks up the claims          Filter  finds devices on a node       Reserve  keeps them from other pods
//	PreBind    writes allocation and user   Unreserve  takes both back            PostFilter  frees a claim that is in the way
type DynamicResources struct {
	// filterTimeout ends the search for devices on one node; 0 lets it take as long as it takes. bindingTimeout is how long
	// the binding conditions of devices may take to become true.
	filterTimeout, bindingTimeout time.Duration

	client   kubernetes.Interface
	recorder events.EventRecorder
	devices  *Devices
}

// NewDynamicResources makes the plugin; nil arguments, and times they leave out, mean upstream's.
func NewDynamicResources(d Deps, args *schedv1.DynamicResourcesArgs) *DynamicResources {
	p := &DynamicResources{
		client: d.Client, recorder: d.Recorder, devices: d.Devices,
		filterTimeout: schedv1.DynamicResourcesFilterTimeoutDefault, bindingTimeout: schedv1.DynamicResourcesBindingTimeoutDefault,
	}
	if args != nil && args.FilterTimeout != nil {
		p.filterTimeout = args.FilterTimeout.Duration
	}
	if args != nil && args.BindingTimeout != nil {
		p.bindingTimeout = args.BindingTimeout.Duration
	}
	return p
}

// Name implements framework.Plugin.
func (*DynamicResources) Name() string { return "DynamicResources" }

// podDevices is what one attempt knows of the pod's claims.
type podDevices struct {
	// claims are those the pod names, then, if there are extended resources of device classes, the special one for these.
	claims  []podClaim
	special bool
	// specialUID is what the special claim is pending under: its own UID, or one made up before the API has it.
	specialUID types.UID
	// allocator is set when devices have to be found.
	allocator structured.Allocator

	mu sync.Mutex
	// unavailable are the allocated claims, by index, that some node can't reach.
	unavailable sets.Set[int]
	nodes       map[string]nodeDevices
}

// podClaim is a claim with the selector of the nodes that reach it, if it is allocated, or what Reserve decided on.
type podClaim struct {
	*resourcev1.ResourceClaim
	reachable *nodeaffinity.NodeSelector
	decided   *resourcev1.AllocationResult
}

// nodeDevices are the devices found on a node, in the order of the claims that have none yet, and what the special claim
// would ask for there.
type nodeDevices struct {
	found    []resourcev1.AllocationResult
	special  *resourcev1.ResourceClaim
	mappings []corev1.ContainerExtendedResourceRequest
}

// Clone implements framework.StateData. Upstream shares the state as well: only results by node are written to it.
func (s *podDevices) Clone() framework.StateData { return s }

// specialClaim answers the claim for extended resources, nil when there is none.
func (s *podDevices) specialClaim() *podClaim {
	if !s.special {
		return nil
	}
	return &s.claims[len(s.claims)-1]
}

// isSpecial reports whether that is the index of the special claim.
func (s *podDevices) isSpecial(index int) bool { return s.special && index == len(s.claims)-1 }

// onlySpecial: the pod names no claims itself.
func (s *podDevices) onlySpecial() bool { return s.special && len(s.claims) == 1 }

func (p *DynamicResources) state(c *framework.Cycle) *podDevices {
	return framework.State[*podDevices](c, p.Name())
}

// unfit rejects a pod, on all nodes or one, for something that evicting pods doesn't change.
func (p *DynamicResources) unfit(reason string) *framework.Status {
	return rejection(p.Name(), framework.UnschedulableAndUnresolvable, reason)
}

// PreEnqueue keeps pods out of the queue whose claims aren't there yet.
func (p *DynamicResources) PreEnqueue(pod *corev1.Pod) *framework.Status {
	if _, err := p.claimsOf(pod); err != nil {
		return p.unfit(err.Error())
	}
	return nil
}

// claimsOf answers the claims that the pod names or that were made for it, or why they can't be used.
func (p *DynamicResources) claimsOf(pod *corev1.Pod) ([]*resourcev1.ResourceClaim, error) {
	var claims []*resourcev1.ResourceClaim
	for i := range pod.Spec.ResourceClaims {
		name, made, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return nil, err
		}
		if name == nil { // Nothing had to be made.
			continue
		}
		claim, err := p.devices.claims.get(pod.Namespace, *name)
		if err != nil {
			return nil, err
		}
		if claim.DeletionTimestamp != nil {
			return nil, fmt.Errorf("resourceclaim %q is being deleted", claim.Name)
		}
		if made {
			if err := resourceclaim.IsForPod(pod, claim, false); err != nil {
				return nil, err
			}
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

// PreFilter looks up the claims and sets up the search for devices. A pod without claims needs none of this.
func (p *DynamicResources) PreFilter(ctx context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	state := &podDevices{}
	c.Write(p.Name(), state)
	named, err := p.claimsOf(c.Pod.Pod)
	if err != nil {
		return nil, p.unfit(err.Error())
	}
	special := p.findSpecial(c.Pod)
	if len(named) == 0 && special == nil {
		return nil, framework.NewStatus(framework.Skip)
	}
	claims, search := make([]podClaim, 0, len(named)+1), false
	for _, claim := range named {
		claims = append(claims, podClaim{ResourceClaim: claim})
	}
	if special != nil {
		claims = append(claims, podClaim{ResourceClaim: special})
	}
	for i := range claims {
		if s := p.check(c.Pod.Pod, &claims[i], claims[i].ResourceClaim == special); !s.IsSuccess() {
			return nil, s
		}
		search = search || claims[i].Status.Allocation == nil
	}
	if search {
		if state.allocator, err = p.allocator(ctx); err != nil {
			return nil, framework.AsStatus(err)
		}
		state.nodes = map[string]nodeDevices{}
	}
	// Only now: PostFilter does nothing for a pod that was turned down above.
	if state.claims = claims; special != nil {
		state.special, state.specialUID = true, special.UID
	}
	return nil, nil
}

// check says why the pod can't have the claim yet. The special claim is looked at node by node.
func (p *DynamicResources) check(pod *corev1.Pod, claim *podClaim, special bool) *framework.Status {
	allocation := claim.Status.Allocation
	switch {
	case allocation != nil && !resourceclaim.CanBeReserved(claim.ResourceClaim) && !resourceclaim.IsReservedForPod(pod, claim.ResourceClaim, false):
		return p.unfit("resourceclaim in use")
	case allocation != nil && allocation.NodeSelector != nil:
		selector, err := nodeaffinity.NewNodeSelector(allocation.NodeSelector)
		claim.reachable = selector
		return framework.AsStatus(err)
	case allocation != nil:
		return nil
	case p.devices.claims.isPending(claim.UID):
		return p.unfit(fmt.Sprintf("resource claim %s is in the process of being allocated", klog.KObj(claim)))
	case special:
		return nil
	}
	for i := range claim.Spec.Devices.Requests {
		if s := p.checkRequest(claim, &claim.Spec.Devices.Requests[i]); !s.IsSuccess() {
			return s
		}
	}
	return nil
}

func (p *DynamicResources) checkRequest(claim *podClaim, request *resourcev1.DeviceRequest) *framework.Status {
	switch {
	case request.Exactly != nil:
		return p.checkClass(request.Exactly.DeviceClassName, request.Name)
	case len(request.FirstAvailable) > 0:
		for i := range request.FirstAvailable {
			sub := &request.FirstAvailable[i]
			if s := p.checkClass(sub.DeviceClassName, request.Name+"/"+sub.Name); !s.IsSuccess() {
				return s
			}
		}
		return nil
	default:
		return p.unfit(fmt.Sprintf("resource claim %s, request %s: unknown request type", klog.KObj(claim), request.Name))
	}
}

func (p *DynamicResources) checkClass(class, request string) *framework.Status {
	if class == "" {
		return framework.AsStatus(fmt.Errorf("request %s: unsupported request type", request))
	}
	if _, err := p.devices.classes.Get(class); apierrors.IsNotFound(err) {
		return p.unfit(fmt.Sprintf("request %s: device class %s does not exist", request, class))
	}
	return nil
}

func (p *DynamicResources) allocator(ctx context.Context) (structured.Allocator, error) {
	slices, err := p.devices.slices.list()
	if err != nil {
		return nil, err
	}
	return structured.NewAllocator(ctx, allocatorFeatures(), p.devices.claims.allocated(), p.devices.classes, slices, p.devices.cel)
}

// errNoState is what PostFilter says of a pod that another plugin turned down before this one looked at it. The words
// are upstream's, and end up in the pod's condition.
var errNoState = errors.New("not found")
