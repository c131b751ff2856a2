package plugins

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"

	"skiff/scheduler/framework"
)

// VolumeRestrictions keeps two pods from sharing what only one may have: a disk that can't be mounted twice on a node,
// and a claim with the access mode ReadWriteOncePod anywhere in the cluster (KEP-2485).
type VolumeRestrictions struct {
	claims              corelisters.PersistentVolumeClaimLister
	diskTaken, claimHad *framework.Status
}

// NewVolumeRestrictions makes the plugin.
func NewVolumeRestrictions(d Deps) *VolumeRestrictions {
	const name = "VolumeRestrictions"
	return &VolumeRestrictions{
		claims:    d.Informers.Core().V1().PersistentVolumeClaims().Lister(),
		diskTaken: rejection(name, framework.Unschedulable, "node(s) had no available disk"),
		claimHad: rejection(name, framework.Unschedulable,
			"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"),
	}
}

// Name implements framework.Plugin.
func (*VolumeRestrictions) Name() string { return "VolumeRestrictions" }

// exclusiveClaims are the pod's claims that one pod alone may use, and how often placed pods refer to them.
type exclusiveClaims struct {
	names sets.Set[string]
	uses  int
}

// Clone implements framework.StateData; only the count changes.
func (e *exclusiveClaims) Clone() framework.StateData {
	clone := *e
	return &clone
}

func (e *exclusiveClaims) refs(pod *framework.PodInfo) int {
	n := 0
	for _, claim := range pod.Claims {
		if e.names.Has(claim) {
			n++
		}
	}
	return n
}

// PreFilter looks up which claims are exclusive. A pod with none in use and without such disks needs no filtering.
func (p *VolumeRestrictions) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	pod := c.Pod.Pod
	disks := slices.ContainsFunc(pod.Spec.Volumes, exclusiveDisk)
	if !disks && len(c.Pod.Claims) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	state := &exclusiveClaims{names: sets.New[string]()}
	for _, name := range c.Pod.Claims {
		claim, err := p.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		if err != nil {
			return nil, missing(err)
		}
		if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			state.names.Insert(name)
		}
	}
	for name := range state.names {
		if c.Snapshot.ClaimUsed(pod.Namespace, name) {
			state.uses++
		}
	}
	if state.uses == 0 && !disks {
		return nil, framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), state)
	return nil, nil
}

// missing turns an object that isn't there into a rejection that no eviction helps, and other errors into failures.
func missing(err error) *framework.Status {
	if apierrors.IsNotFound(err) {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, err.Error())
	}
	return framework.AsStatus(err)
}

// AddPod counts the claims of a pod that would be there.
func (p *VolumeRestrictions) AddPod(_ context.Context, c *framework.Cycle, pod *framework.PodInfo, _ *framework.NodeInfo) *framework.Status {
	state := framework.State[*exclusiveClaims](c, p.Name())
	state.uses += state.refs(pod)
	return nil
}

// RemovePod no longer counts the claims of a pod that would be gone.
func (p *VolumeRestrictions) RemovePod(_ context.Context, c *framework.Cycle, pod *framework.PodInfo, _ *framework.NodeInfo) *framework.Status {
	state := framework.State[*exclusiveClaims](c, p.Name())
	state.uses -= state.refs(pod)
	return nil
}

// Filter compares the disks with those of the node's pods, and looks at whether an exclusive claim is in use.
func (p *VolumeRestrictions) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	for _, other := range node.Pods {
		if disksConflict(c.Pod.Pod, other.Pod) {
			return p.diskTaken
		}
	}
	if framework.State[*exclusiveClaims](c, p.Name()).uses > 0 {
		return p.claimHad
	}
	return nil
}

// exclusiveDisk: the volume names a disk that can't be mounted at will.
func exclusiveDisk(v corev1.Volume) bool {
	return v.GCEPersistentDisk != nil || v.AWSElasticBlockStore != nil || v.RBD != nil || v.ISCSI != nil
}

func disksConflict(pod, other *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if !exclusiveDisk(pod.Spec.Volumes[i]) {
			continue
		}
		for j := range other.Spec.Volumes {
			if sameDisk(&pod.Spec.Volumes[i], &other.Spec.Volumes[j]) {
				return true
			}
		}
	}
	return false
}

// sameDisk: both volumes are one disk and may not be mounted together. All but EBS may be when both only read.
func sameDisk(a, b *corev1.Volume) bool {
	switch {
	case a.GCEPersistentDisk != nil && b.GCEPersistentDisk != nil:
		x, y := a.GCEPersistentDisk, b.GCEPersistentDisk
		return x.PDName == y.PDName && !(x.ReadOnly && y.ReadOnly)
	case a.AWSElasticBlockStore != nil && b.AWSElasticBlockStore != nil:
		return a.AWSElasticBlockStore.VolumeID == b.AWSElasticBlockStore.VolumeID
	case a.ISCSI != nil && b.ISCSI != nil:
		return a.ISCSI.IQN == b.ISCSI.IQN && !(a.ISCSI.ReadOnly && b.ISCSI.ReadOnly)
	case a.RBD != nil && b.RBD != nil:
		x, y := a.RBD, b.RBD
		shared := slices.ContainsFunc(x.CephMonitors, func(m string) bool { return slices.Contains(y.CephMonitors, m) })
		return shared && x.RBDPool == y.RBDPool && x.RBDImage == y.RBDImage && !(x.ReadOnly && y.ReadOnly)
	default:
		return false
	}
}

// EventsToRegister waits for pods that held a disk or claim to go, for nodes, and for claims that were missing.
func (*VolumeRestrictions) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Delete, func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
			gone, ok := change.Old.(*corev1.Pod)
			if !ok {
				return framework.Queue
			}
			if gone.Namespace != pod.Pod.Namespace {
				return framework.QueueSkip
			}
			return queueIf(disksConflict(pod.Pod, gone) || sharesClaim(pod, gone))
		}),
		on(framework.Node, framework.Add, nil),
		on(framework.PersistentVolumeClaim, framework.Add, ifClaimIsOfPod(namedClaim)),
	}
}

func sharesClaim(pod *framework.PodInfo, other *corev1.Pod) bool {
	return slices.ContainsFunc(other.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && slices.Contains(pod.Claims, v.PersistentVolumeClaim.ClaimName)
	})
}

// namedClaim answers the claim that a volume names itself, "" when it names none.
func namedClaim(_ *corev1.Pod, volume *corev1.Volume) string {
	if volume.PersistentVolumeClaim == nil {
		return ""
	}
	return volume.PersistentVolumeClaim.ClaimName
}

// anyClaim answers the claim that a volume names or that is made for it, "" when there is none.
func anyClaim(pod *corev1.Pod, volume *corev1.Volume) string {
	name, _ := claimName(pod, volume)
	return name
}

// ifClaimIsOfPod is a hint for changes of claims: only those of the pod's volumes help.
func ifClaimIsOfPod(claimOf func(*corev1.Pod, *corev1.Volume) string) framework.HintFunc {
	return func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
		claim, ok := change.New.(*corev1.PersistentVolumeClaim)
		if !ok {
			return framework.Queue
		}
		if claim.Namespace != pod.Pod.Namespace {
			return framework.QueueSkip
		}
		for i := range pod.Pod.Spec.Volumes {
			if claimOf(pod.Pod, &pod.Pod.Spec.Volumes[i]) == claim.Name {
				return framework.Queue
			}
		}
		return framework.QueueSkip
	}
}
