package plugins

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// VolumeBinding keeps pods off nodes their volumes can't reach, and has claims that wait for their first consumer bound
// to a volume for the chosen node before the pod is bound.
type VolumeBinding struct {
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	changed *signal
	// timeout is how long the pod's claims may take to get bound before the pod is tried again.
	timeout time.Duration
	*reservations
}

// reservations are volumes chosen for claims of pods on their way, by volume name.
type reservations struct {
	mu       sync.Mutex
	reserved map[string]*corev1.PersistentVolume
}

// WithArgs answers a plugin of other arguments that shares the reservations, so that pods of different profiles don't
// choose the same volume; nil arguments mean upstream's defaults.
func (p *VolumeBinding) WithArgs(args *schedv1.VolumeBindingArgs) *VolumeBinding {
	other := *p
	if args != nil && args.BindTimeoutSeconds != nil {
		other.timeout = time.Duration(*args.BindTimeoutSeconds) * time.Second
	}
	return &other
}

// NewVolumeBinding makes the plugin.
func NewVolumeBinding(d Deps) *VolumeBinding {
	core := d.Informers.Core().V1()
	return &VolumeBinding{
		client:  d.Client,
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		classes: d.Informers.Storage().V1().StorageClasses().Lister(),
		changed: watchClaims(d.Informers),
		timeout: defaultBindTimeout,

		reservations: &reservations{reserved: map[string]*corev1.PersistentVolume{}},
	}
}

// Name implements framework.Plugin.
func (*VolumeBinding) Name() string { return "VolumeBinding" }

// podVolumes sorts the pod's claims: bound ones, and those waiting for the node.
type podVolumes struct {
	bound, waiting []*corev1.PersistentVolumeClaim
	// plan is set by Reserve.
	plan *bindingPlan
}

// Clone implements framework.StateData; only Reserve writes, after all filtering.
func (v *podVolumes) Clone() framework.StateData { return v }

// bindingPlan says what PreBind has to do.
type bindingPlan struct {
	match     map[*corev1.PersistentVolumeClaim]*corev1.PersistentVolume
	provision []*corev1.PersistentVolumeClaim
}

// PreFilter rejects a pod whose claims are missing or not to be bound yet.
func (p *VolumeBinding) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	v := &podVolumes{}
	pod := c.Pod.Pod
	for i := range pod.Spec.Volumes {
		name, ephemeral := claimName(pod, &pod.Spec.Volumes[i])
		if name == "" {
			continue
		}
		claim, s := p.claim(pod, name, ephemeral)
		if s != nil {
			return nil, s
		}
		if s := p.sort(v, claim); s != nil {
			return nil, s
		}
	}
	if len(v.bound)+len(v.waiting) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), v)
	return nil, nil
}

// claimName answers the claim a volume uses; that of an ephemeral volume is named after the pod.
func claimName(pod *corev1.Pod, volume *corev1.Volume) (name string, ephemeral bool) {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName, false
	case volume.Ephemeral != nil:
		return pod.Name + "-" + volume.Name, true
	default:
		return "", false
	}
}

func (p *VolumeBinding) reject(format string, args ...any) *framework.Status {
	return rejection(p.Name(), framework.UnschedulableAndUnresolvable, fmt.Sprintf(format, args...))
}

func (p *VolumeBinding) claim(pod *corev1.Pod, name string, ephemeral bool) (*corev1.PersistentVolumeClaim, *framework.Status) {
	claim, err := p.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
	switch {
	case apierrors.IsNotFound(err) && ephemeral:
		return nil, p.reject("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case apierrors.IsNotFound(err):
		return nil, p.reject("persistentvolumeclaim %q not found", name)
	case err != nil:
		return nil, framework.AsStatus(fmt.Errorf("getting persistentvolumeclaim %q: %w", name, err))
	case claim.Status.Phase == corev1.ClaimLost:
		return nil, p.reject("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return nil, p.reject("persistentvolumeclaim %q is being deleted", name)
	case ephemeral && !metav1.IsControlledBy(claim, pod):
		return nil, p.reject("PVC %s/%s was not created for pod %s/%s (pod is not owner)", claim.Namespace, name, pod.Namespace, pod.Name)
	default:
		return claim, nil
	}
}

func (p *VolumeBinding) sort(v *podVolumes, claim *corev1.PersistentVolumeClaim) *framework.Status {
	if bound(claim) {
		v.bound = append(v.bound, claim)
		return nil
	}
	delayed, err := volumehelpers.IsDelayBindingMode(claim, p.classes)
	switch {
	case err != nil:
		return framework.AsStatus(fmt.Errorf("finding the binding mode of persistentvolumeclaim %q: %w", claim.Name, err))
	case delayed && claim.Spec.VolumeName == "":
		v.waiting = append(v.waiting, claim)
		return nil
	default:
		return p.reject("pod has unbound immediate PersistentVolumeClaims")
	}
}

// bound reports whether the volume controller has finished binding.
func bound(claim *corev1.PersistentVolumeClaim) bool {
	_, completed := claim.Annotations[volumehelpers.AnnBindCompleted]
	return claim.Spec.VolumeName != "" && completed
}

// Filter checks that every bound volume reaches the node and that every waiting claim could be served there.
func (p *VolumeBinding) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	v := framework.State[*podVolumes](c, p.Name())
	var reasons []string
	missing, unreachable := p.checkBound(v.bound, node.Node)
	if unreachable {
		reasons = append(reasons, "node(s) didn't match PersistentVolume's node affinity")
	}
	if len(v.waiting) > 0 {
		plan, err := p.plan(v.waiting, node.Node)
		if err != nil {
			return framework.AsStatus(err)
		}
		if plan == nil {
			reasons = append(reasons, "node(s) didn't find available persistent volumes to bind")
		}
	}
	if missing {
		reasons = append(reasons, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
	}
	if len(reasons) == 0 {
		return nil
	}
	return framework.NewStatus(framework.UnschedulableAndUnresolvable, reasons...).WithPlugin(p.Name())
}

func (p *VolumeBinding) checkBound(claims []*corev1.PersistentVolumeClaim, node *corev1.Node) (missing, unreachable bool) {
	for _, claim := range claims {
		pv, err := p.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			missing = true
			continue
		}
		if volumehelpers.CheckNodeAffinity(pv, node.Labels) != nil {
			unreachable = true
		}
	}
	return missing, unreachable
}

// Reserve settles which volumes the pod gets, so that no other pod is given them.
func (p *VolumeBinding) Reserve(_ context.Context, c *framework.Cycle, nodeName string) *framework.Status {
	v := framework.State[*podVolumes](c, p.Name())
	node, ok := c.Snapshot.Node(nodeName)
	if v == nil || len(v.waiting) == 0 || !ok {
		return nil
	}
	plan, err := p.plan(v.waiting, node.Node)
	if err != nil {
		return framework.AsStatus(err)
	}
	if plan == nil {
		return framework.AsStatus(fmt.Errorf("the volumes found for node %s are taken", nodeName))
	}
	v.plan = plan
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pv := range plan.match {
		p.reserved[pv.Name] = pv
	}
	return nil
}

// Unreserve gives the volumes back.
func (p *VolumeBinding) Unreserve(_ context.Context, c *framework.Cycle, _ string) {
	if v := framework.State[*podVolumes](c, p.Name()); v != nil && v.plan != nil {
		p.release(v.plan)
	}
}

// PostBind lets go of the reservations: the API knows by now.
func (p *VolumeBinding) PostBind(_ context.Context, c *framework.Cycle, _ string) {
	if v := framework.State[*podVolumes](c, p.Name()); v != nil && v.plan != nil {
		p.release(v.plan)
	}
}

func (p *VolumeBinding) release(plan *bindingPlan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pv := range plan.match {
		delete(p.reserved, pv.Name)
	}
}

// EventsToRegister waits for claims, volumes, classes and nodes.
func (*VolumeBinding) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.PersistentVolumeClaim, framework.Add|framework.Update, ifClaimIsOfPod(anyClaim)),
		on(framework.PersistentVolume, framework.Add|framework.Update, nil),
		on(framework.StorageClass, framework.Add|framework.Update, nil),
		on(framework.Node, framework.Add|framework.UpdateNodeLabel|framework.UpdateNodeTaint, nil),
	}
}

// classOf answers the claim's class, nil when there is none of that name.
func (p *VolumeBinding) classOf(claim *corev1.PersistentVolumeClaim) (*storagev1.StorageClass, error) {
	class, err := p.classes.Get(volumehelpers.GetPersistentVolumeClaimClass(claim))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return class, err
}

// watchClaims makes a signal of every change of a claim.
func watchClaims(f informers.SharedInformerFactory) *signal {
	s := newSignal()
	_, _ = f.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(s)
	return s
}
