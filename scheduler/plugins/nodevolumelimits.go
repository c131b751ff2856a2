package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/uuid"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	csitranslation "k8s.io/csi-translation-lib"
	csiplugins "k8s.io/csi-translation-lib/plugins"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// NodeVolumeLimits keeps pods off nodes that can't attach as many volumes of a CSI driver as they would need, by the
// counts of the CSINode, and off nodes that lack a driver which says that it must be there
// (CSIDriver.spec.preventPodSchedulingIfMissing).
type NodeVolumeLimits struct {
	csiNodes    storagelisters.CSINodeLister
	drivers     storagelisters.CSIDriverLister
	claims      corelisters.PersistentVolumeClaimLister
	volumes     corelisters.PersistentVolumeLister
	classes     storagelisters.StorageClassLister
	attachments cache.Indexer
	translator  csitranslation.CSITranslator
	// unbound is the start of the handles that stand for volumes still to be provisioned; no driver gives such a handle.
	unbound string
	full    *framework.Status
}

// attachmentsByNode is the index of VolumeAttachments by the node they attach to.
const attachmentsByNode = "scheduler/spec.nodeName"

// NewNodeVolumeLimits makes the plugin.
func NewNodeVolumeLimits(d Deps) *NodeVolumeLimits {
	core, storage := d.Informers.Core().V1(), d.Informers.Storage().V1()
	attachments := storage.VolumeAttachments().Informer()
	// It fails where the index is there already, as with a second profile; Filter finds out when there is none.
	_ = attachments.AddIndexers(cache.Indexers{attachmentsByNode: nodeOfAttachment})
	return &NodeVolumeLimits{
		csiNodes:    storage.CSINodes().Lister(),
		drivers:     storage.CSIDrivers().Lister(),
		claims:      core.PersistentVolumeClaims().Lister(),
		volumes:     core.PersistentVolumes().Lister(),
		classes:     storage.StorageClasses().Lister(),
		attachments: attachments.GetIndexer(),
		translator:  csitranslation.New(),
		unbound:     string(uuid.NewUUID()),
		full:        rejection("NodeVolumeLimits", framework.Unschedulable, "node(s) exceed max volume count"),
	}
}

func nodeOfAttachment(object any) ([]string, error) {
	if attachment, ok := object.(*storagev1.VolumeAttachment); ok {
		return []string{attachment.Spec.NodeName}, nil
	}
	return nil, nil
}

// Name implements framework.Plugin.
func (*NodeVolumeLimits) Name() string { return "NodeVolumeLimits" }

// counted: the volume can be one of a CSI driver.
func (p *NodeVolumeLimits) counted(volume *corev1.Volume) bool {
	return volume.PersistentVolumeClaim != nil || volume.Ephemeral != nil || p.translator.IsInlineMigratable(volume)
}

// PreFilter skips pods without such volumes.
func (p *NodeVolumeLimits) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	for i := range c.Pod.Pod.Spec.Volumes {
		if p.counted(&c.Pod.Pod.Spec.Volumes[i]) {
			return nil, nil
		}
	}
	return nil, framework.NewStatus(framework.Skip)
}

// csiVolume is a volume as its driver knows it.
type csiVolume struct{ driver, handle string }

// Filter counts, for every driver, the volumes that are attached or used and those the pod adds.
func (p *NodeVolumeLimits) Filter(ctx context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	log := klog.FromContext(ctx)
	csiNode, err := p.csiNodes.Get(node.Name())
	if err != nil {
		csiNode = nil
	}
	wanted := map[csiVolume]bool{}
	if err := p.collect(log, c.Pod.Pod, csiNode, true, wanted); err != nil {
		return missing(err)
	}
	if len(wanted) == 0 {
		return nil
	}
	if s := p.driversInstalled(wanted, csiNode); !s.IsSuccess() {
		return s
	}
	limits := volumeLimits(csiNode)
	if len(limits) == 0 {
		return nil
	}
	used := map[csiVolume]bool{}
	for _, other := range node.Pods {
		if err := p.collect(log, other.Pod, csiNode, false, used); err != nil {
			return framework.AsStatus(err)
		}
	}
	for v := range used {
		delete(wanted, v)
	}
	if err := p.collectAttached(node.Name(), used); err != nil {
		return framework.AsStatus(err)
	}
	if exceeds(wanted, used, limits) {
		return p.full
	}
	return nil
}

// exceeds compares by driver, for the drivers that the pod adds volumes of.
func exceeds(wanted, used map[csiVolume]bool, limits map[string]int) bool {
	added, total := map[string]bool{}, map[string]int{}
	for v := range wanted {
		added[v.driver] = true
		total[v.driver]++
	}
	for v := range used {
		total[v.driver]++
	}
	for driver := range added {
		if limit, ok := limits[driver]; ok && total[driver] > limit {
			return true
		}
	}
	return false
}

// volumeLimits answers how many volumes the node takes of the drivers that set a limit.
func volumeLimits(csiNode *storagev1.CSINode) map[string]int {
	limits := map[string]int{}
	if csiNode == nil {
		return limits
	}
	for i := range csiNode.Spec.Drivers {
		if a := csiNode.Spec.Drivers[i].Allocatable; a != nil && a.Count != nil {
			limits[csiNode.Spec.Drivers[i].Name] = int(*a.Count)
		}
	}
	return limits
}

// driversInstalled rejects a node without a driver that must be there.
func (p *NodeVolumeLimits) driversInstalled(wanted map[csiVolume]bool, csiNode *storagev1.CSINode) *framework.Status {
	for v := range wanted {
		driver, err := p.drivers.Get(v.driver)
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return framework.AsStatus(fmt.Errorf("error getting CSIDriver for provider %s: %w", v.driver, err))
		case driver.Spec.PreventPodSchedulingIfMissing == nil || !*driver.Spec.PreventPodSchedulingIfMissing:
			continue
		case csiNode == nil || !slices.ContainsFunc(csiNode.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == v.driver }):
			return framework.NewStatus(framework.Unschedulable, v.driver+" CSI driver is not installed on the node")
		}
	}
	return nil
}

// collectAttached adds what the attach-detach controller has attached, or is about to, for pods that are gone or unknown.
func (p *NodeVolumeLimits) collectAttached(node string, into map[csiVolume]bool) error {
	attachments, err := p.attachments.ByIndex(attachmentsByNode, node)
	if err != nil {
		return fmt.Errorf("listing the volume attachments of node %s: %w", node, err)
	}
	for _, object := range attachments {
		attachment, ok := object.(*storagev1.VolumeAttachment)
		if !ok || attachment.Spec.Attacher == "" || attachment.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		pv, err := p.volumes.Get(*attachment.Spec.Source.PersistentVolumeName)
		if err == nil && pv.Spec.CSI != nil {
			into[csiVolume{attachment.Spec.Attacher, pv.Spec.CSI.VolumeHandle}] = true
		}
	}
	return nil
}

// collect adds the CSI volumes of a pod. Claims of the pod to be placed must exist; those of other pods count if they do.
func (p *NodeVolumeLimits) collect(log klog.Logger, pod *corev1.Pod, csiNode *storagev1.CSINode, mustExist bool, into map[csiVolume]bool) error {
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.PersistentVolumeClaim == nil && volume.Ephemeral == nil {
			if err := p.collectInline(log, pod, volume, csiNode, into); err != nil {
				return err
			}
			continue
		}
		name, isEphemeral := claimName(pod, volume)
		if name == "" {
			return errors.New("PersistentVolumeClaim had no name")
		}
		claim, err := p.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		switch {
		case err != nil && mustExist:
			return fmt.Errorf("looking up PVC %s/%s: %w", pod.Namespace, name, err)
		case err != nil:
			continue
		}
		if isEphemeral {
			if err := ephemeral.VolumeIsForPod(pod, claim); err != nil {
				return err
			}
		}
		if v := p.ofClaim(log, claim, csiNode); v.driver != "" && v.handle != "" {
			into[v] = true
		}
	}
	return nil
}

// collectInline adds a volume of an in-tree driver that stands in the pod, in the form of its CSI driver.
func (p *NodeVolumeLimits) collectInline(log klog.Logger, pod *corev1.Pod, volume *corev1.Volume, csiNode *storagev1.CSINode, into map[csiVolume]bool) error {
	if !p.translator.IsInlineMigratable(volume) {
		return nil
	}
	inTree, err := p.translator.GetInTreePluginNameFromSpec(nil, volume)
	if err != nil {
		return fmt.Errorf("looking up provisioner name for volume %s: %w", volume.Name, err)
	}
	if !migrated(csiNode, inTree) {
		return nil
	}
	pv, err := p.translator.TranslateInTreeInlineVolumeToCSI(log, volume, pod.Namespace)
	if err != nil {
		return fmt.Errorf("converting volume(%s) from inline to csi: %w", volume.Name, err)
	}
	driver, err := p.translator.GetCSINameFromInTreeName(inTree)
	if err != nil {
		return fmt.Errorf("looking up CSI driver name for provisioner %s: %w", inTree, err)
	}
	if pv != nil && pv.Spec.CSI != nil {
		into[csiVolume{driver, pv.Spec.CSI.VolumeHandle}] = true
	}
	return nil
}

// migrated: volumes of the in-tree driver are served by CSI on a node that has any CSI driver.
func migrated(csiNode *storagev1.CSINode, inTree string) bool {
	switch inTree {
	case csiplugins.AWSEBSInTreePluginName, csiplugins.PortworxVolumePluginName, csiplugins.GCEPDInTreePluginName,
		csiplugins.AzureDiskInTreePluginName, csiplugins.CinderInTreePluginName:
		return csiNode != nil
	default:
		return false
	}
}

// ofClaim answers the volume of a claim, nothing for one that isn't of a CSI driver.
func (p *NodeVolumeLimits) ofClaim(log klog.Logger, claim *corev1.PersistentVolumeClaim, csiNode *storagev1.CSINode) csiVolume {
	pv, err := p.volumes.Get(claim.Spec.VolumeName)
	if claim.Spec.VolumeName == "" || err != nil {
		return p.ofClass(claim, csiNode)
	}
	if pv.Spec.CSI == nil {
		if !p.translator.IsPVMigratable(pv) {
			return csiVolume{}
		}
		inTree, err := p.translator.GetInTreePluginNameFromSpec(pv, nil)
		if err != nil || !migrated(csiNode, inTree) {
			return csiVolume{}
		}
		if pv, err = p.translator.TranslateInTreePVToCSI(log, pv); err != nil || pv.Spec.CSI == nil {
			return csiVolume{}
		}
	}
	return csiVolume{pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle}
}

// ofClass answers the volume that would be provisioned for the claim, under a handle that nobody else has.
func (p *NodeVolumeLimits) ofClass(claim *corev1.PersistentVolumeClaim, csiNode *storagev1.CSINode) csiVolume {
	class, err := p.classes.Get(volumehelpers.GetPersistentVolumeClaimClass(claim))
	if err != nil {
		return csiVolume{}
	}
	v := csiVolume{class.Provisioner, fmt.Sprintf("%s-%s/%s", p.unbound, claim.Namespace, claim.Name)}
	if !p.translator.IsMigratableIntreePluginByName(class.Provisioner) {
		return v
	}
	if v.driver, err = p.translator.GetCSINameFromInTreeName(class.Provisioner); err != nil || !migrated(csiNode, class.Provisioner) {
		return csiVolume{}
	}
	return v
}
