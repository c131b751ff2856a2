package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	v1helpers "k8s.io/component-helpers/scheduling/corev1"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"skiff/scheduler/framework"
)

// defaultBindTimeout is upstream's.
const defaultBindTimeout = 10 * time.Minute

// plan finds a volume for every waiting claim, or lets it be provisioned; nil when the node can't serve one of them.
func (p *VolumeBinding) plan(claims []*corev1.PersistentVolumeClaim, node *corev1.Node) (*bindingPlan, error) {
	volumes, err := p.volumes.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing persistent volumes: %w", err)
	}
	taken := p.taken()
	plan := &bindingPlan{match: map[*corev1.PersistentVolumeClaim]*corev1.PersistentVolume{}}
	for _, claim := range claims {
		if selected, ok := claim.Annotations[volumehelpers.AnnSelectedNode]; ok {
			if selected != node.Name {
				return nil, nil
			}
			plan.provision = append(plan.provision, claim)
			continue
		}
		pv, err := volumehelpers.FindMatchingVolume(claim, volumes, node, taken, true, true)
		if err != nil {
			return nil, fmt.Errorf("matching a volume to persistentvolumeclaim %q: %w", claim.Name, err)
		}
		if pv != nil {
			taken[pv.Name] = pv
			plan.match[claim] = pv
			continue
		}
		class, err := p.classOf(claim)
		if err != nil {
			return nil, fmt.Errorf("getting the class of persistentvolumeclaim %q: %w", claim.Name, err)
		}
		if !provisions(class, node) {
			return nil, nil
		}
		plan.provision = append(plan.provision, claim)
	}
	return plan, nil
}

func (p *VolumeBinding) taken() map[string]*corev1.PersistentVolume {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := make(map[string]*corev1.PersistentVolume, len(p.reserved))
	for name, pv := range p.reserved {
		taken[name] = pv
	}
	return taken
}

// provisions reports whether the class makes volumes and may make them for the node.
func provisions(class *storagev1.StorageClass, node *corev1.Node) bool {
	if class == nil || class.Provisioner == "" || class.Provisioner == volumehelpers.NotSupportedProvisioner {
		return false
	}
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	selector := &corev1.NodeSelector{}
	for _, term := range class.AllowedTopologies {
		var t corev1.NodeSelectorTerm
		for _, e := range term.MatchLabelExpressions {
			t.MatchExpressions = append(t.MatchExpressions, corev1.NodeSelectorRequirement{
				Key: e.Key, Operator: corev1.NodeSelectorOpIn, Values: e.Values,
			})
		}
		selector.NodeSelectorTerms = append(selector.NodeSelectorTerms, t)
	}
	match, err := v1helpers.MatchNodeSelectorTerms(node, selector)
	return err == nil && match
}

// PreBindPreFlight implements framework.PreBindPreFlight.
func (p *VolumeBinding) PreBindPreFlight(_ context.Context, c *framework.Cycle, _ string) *framework.Status {
	if v := framework.State[*podVolumes](c, p.Name()); v == nil || v.plan == nil {
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

// PreBind ties the chosen volumes to the claims, tells the provisioner the node for the others, and waits until all
// claims are bound.
func (p *VolumeBinding) PreBind(ctx context.Context, c *framework.Cycle, node string) *framework.Status {
	v := framework.State[*podVolumes](c, p.Name())
	if v == nil || v.plan == nil {
		return nil
	}
	for claim, pv := range v.plan.match {
		if err := p.tie(ctx, claim, pv); err != nil {
			return framework.AsStatus(err)
		}
	}
	for _, claim := range v.plan.provision {
		if err := p.selectNode(ctx, claim, node); err != nil {
			return framework.AsStatus(err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, errors.New("timed out waiting for the claims to be bound"))
	defer cancel()
	return framework.AsStatus(p.awaitBound(ctx, v, node))
}

func (p *VolumeBinding) tie(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) error {
	tied, dirty, err := volumehelpers.GetBindVolumeToClaim(pv, claim)
	if err != nil {
		return fmt.Errorf("binding volume %s to persistentvolumeclaim %q: %w", pv.Name, claim.Name, err)
	}
	if !dirty {
		return nil
	}
	if _, err := p.client.CoreV1().PersistentVolumes().Update(ctx, tied, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("binding volume %s to persistentvolumeclaim %q: %w", pv.Name, claim.Name, err)
	}
	return nil
}

func (p *VolumeBinding) selectNode(ctx context.Context, claim *corev1.PersistentVolumeClaim, node string) error {
	if claim.Annotations[volumehelpers.AnnSelectedNode] == node {
		return nil
	}
	selected := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&selected.ObjectMeta, volumehelpers.AnnSelectedNode, node)
	if _, err := p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, selected, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("selecting node %s for persistentvolumeclaim %q: %w", node, claim.Name, err)
	}
	return nil
}

// awaitBound waits for claim events. A provisioner that gives up takes the selected node back; then the pod is tried again.
func (p *VolumeBinding) awaitBound(ctx context.Context, v *podVolumes, node string) error {
	selected := map[string]bool{}
	for {
		changed := p.changed.wait()
		pending := false
		for _, claim := range v.waiting {
			now, err := p.claims.PersistentVolumeClaims(claim.Namespace).Get(claim.Name)
			switch {
			case apierrors.IsNotFound(err):
				return fmt.Errorf("persistentvolumeclaim %q was deleted", claim.Name)
			case err != nil:
				return fmt.Errorf("getting persistentvolumeclaim %q: %w", claim.Name, err)
			case bound(now):
				continue
			}
			pending = true
			if now.Annotations[volumehelpers.AnnSelectedNode] == node {
				selected[claim.Name] = true
			} else if selected[claim.Name] {
				return fmt.Errorf("provisioning failed for persistentvolumeclaim %q", claim.Name)
			}
		}
		if !pending {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// signal wakes all that wait for the next change. It is an informer's event handler.
type signal struct {
	mu   sync.Mutex
	next chan struct{}
}

func newSignal() *signal { return &signal{next: make(chan struct{})} }

// wait answers a channel that is closed at the next change.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.next)
	s.next = make(chan struct{})
}

// OnAdd implements cache.ResourceEventHandler.
func (s *signal) OnAdd(any, bool) { s.fire() }

// OnUpdate implements cache.ResourceEventHandler.
func (s *signal) OnUpdate(any, any) { s.fire() }

// OnDelete implements cache.ResourceEventHandler.
func (s *signal) OnDelete(any) { s.fire() }
