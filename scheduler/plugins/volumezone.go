package plugins

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"skiff/scheduler/framework"
)

// VolumeZone keeps pods off nodes outside the zones and regions that the labels of their volumes name. Claims that wait
// for their first consumer have no volume yet and say nothing.
type VolumeZone struct {
	volumes  corelisters.PersistentVolumeLister
	claims   corelisters.PersistentVolumeClaimLister
	classes  storagelisters.StorageClassLister
	conflict *framework.Status
}

// NewVolumeZone makes the plugin.
func NewVolumeZone(d Deps) *VolumeZone {
	core := d.Informers.Core().V1()
	return &VolumeZone{
		volumes:  core.PersistentVolumes().Lister(),
		claims:   core.PersistentVolumeClaims().Lister(),
		classes:  d.Informers.Storage().V1().StorageClasses().Lister(),
		conflict: rejection("VolumeZone", framework.UnschedulableAndUnresolvable, "node(s) had no available volume zone"),
	}
}

// Name implements framework.Plugin.
func (*VolumeZone) Name() string { return "VolumeZone" }

// volumeTopology is one label of a volume: the key and the values a node may have.
type volumeTopology struct {
	key    string
	values sets.Set[string]
}

type volumeTopologies []volumeTopology

// Clone implements framework.StateData; the list is never changed.
func (v volumeTopologies) Clone() framework.StateData { return v }

// topologyKeys are the labels looked at, the beta ones first, with the name each has today.
func topologyKeys() [4][2]string {
	return [4][2]string{
		{corev1.LabelFailureDomainBetaZone, corev1.LabelTopologyZone},
		{corev1.LabelFailureDomainBetaRegion, corev1.LabelTopologyRegion},
		{corev1.LabelTopologyZone, corev1.LabelTopologyZone},
		{corev1.LabelTopologyRegion, corev1.LabelTopologyRegion},
	}
}

// topologiesOf reads the labels of a volume. Several zones are written "a__b"; a label with an empty part is ignored.
func topologiesOf(pv *corev1.PersistentVolume) volumeTopologies {
	var found volumeTopologies
	for _, key := range topologyKeys() {
		value, ok := pv.Labels[key[0]]
		if !ok {
			continue
		}
		values := sets.New[string]()
		for part := range strings.SplitSeq(value, "__") {
			values.Insert(strings.TrimSpace(part))
		}
		if !values.Has("") {
			found = append(found, volumeTopology{key: key[0], values: values})
		}
	}
	return found
}

// PreFilter collects the labels of the pod's volumes.
func (p *VolumeZone) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	var all volumeTopologies
	for _, name := range c.Pod.Claims {
		pv, s := p.volumeOf(c.Pod.Pod.Namespace, name)
		if !s.IsSuccess() {
			return nil, s
		}
		if pv != nil {
			all = append(all, topologiesOf(pv)...)
		}
	}
	if len(all) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), all)
	return nil, nil
}

// volumeOf answers the volume of a claim, nil while the claim waits for its first consumer.
func (p *VolumeZone) volumeOf(namespace, name string) (*corev1.PersistentVolume, *framework.Status) {
	if name == "" {
		return nil, p.reject("PersistentVolumeClaim had no name")
	}
	claim, err := p.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return nil, missing(err)
	}
	if claim.Spec.VolumeName != "" {
		pv, err := p.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return nil, missing(err)
		}
		return pv, nil
	}
	className := volumehelpers.GetPersistentVolumeClaimClass(claim)
	if className == "" {
		return nil, p.reject("PersistentVolumeClaim had no pv name and storageClass name")
	}
	class, err := p.classes.Get(className)
	switch {
	case err != nil:
		return nil, missing(err)
	case class.VolumeBindingMode == nil:
		return nil, p.reject(fmt.Sprintf("VolumeBindingMode not set for StorageClass %q", className))
	case *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer:
		return nil, nil
	default:
		return nil, p.reject("PersistentVolume had no name")
	}
}

func (p *VolumeZone) reject(reason string) *framework.Status {
	return rejection(p.Name(), framework.UnschedulableAndUnresolvable, reason)
}

// Filter compares the labels with the node's. A node without any such label takes all, as in a cluster of one zone.
func (p *VolumeZone) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	labels := node.Node.Labels
	labelled := false
	for _, key := range topologyKeys() {
		_, has := labels[key[0]]
		labelled = labelled || has
	}
	if !labelled {
		return nil
	}
	for _, topology := range framework.State[volumeTopologies](c, p.Name()) {
		value, ok := labels[topology.key]
		if !ok {
			value, ok = labels[todaysKey(topology.key)]
		}
		if !ok || !topology.values.Has(value) {
			return p.conflict
		}
	}
	return nil
}

func todaysKey(key string) string {
	for _, known := range topologyKeys() {
		if known[0] == key {
			return known[1]
		}
	}
	return key
}

// EventsToRegister waits for classes that delay binding, for nodes and their labels, for the pod's claims, and for
// volumes that are new or labelled anew.
func (*VolumeZone) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.StorageClass, framework.Add, func(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
			class, ok := change.New.(*storagev1.StorageClass)
			return queueIf(!ok || (class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer))
		}),
		on(framework.Node, framework.Add|framework.UpdateNodeLabel, nil),
		on(framework.PersistentVolumeClaim, framework.Add|framework.Update, ifClaimIsOfPod(namedClaim)),
		on(framework.PersistentVolume, framework.Add|framework.Update, func(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
			before, ok := change.Old.(*corev1.PersistentVolume)
			after, now := change.New.(*corev1.PersistentVolume)
			return queueIf(!ok || !now || !reflect.DeepEqual(topologiesOf(before), topologiesOf(after)))
		}),
	}
}
