package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
)

// nodeIDs is the annotation of a Node with its name in each driver's terms, as a JSON object by driver.
const nodeIDs = "csi.volume.kubernetes.io/nodeid"

// registerPause is the wait before the node's CSINode is tried again, as long as the node isn't registered itself.
const registerPause = 500 * time.Millisecond

// Run makes the node's CSINode, which a scheduler wants to see before it counts a node's volumes, and ends with ctx.
func (d *Drivers) Run(ctx context.Context) error {
	defer d.Close()
	for {
		err := d.change(ctx, func(*storagev1.CSINode) error { return nil })
		if err == nil {
			break
		}
		if ctx.Err() == nil && !apierrors.IsNotFound(err) {
			klog.FromContext(ctx).Error(err, "Could not make the node's CSINode")
		}
		timer := time.NewTimer(registerPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
	<-ctx.Done()
	return nil
}

// announce writes a driver into the node's objects: first the Node, whose labels a CSINode's topology keys promise.
func (d *Drivers) announce(ctx context.Context, name string, info Info) error {
	d.objects.Lock()
	defer d.objects.Unlock()
	if err := d.changeNode(ctx, func(node *corev1.Node) error { return addToNode(node, name, info) }); err != nil {
		return err
	}
	return d.changeCSINode(ctx, func(node *storagev1.CSINode) error {
		addDriver(node, name, info)
		return nil
	})
}

// withdraw takes a driver out of the node's objects. Its labels stay: volumes were placed by them.
func (d *Drivers) withdraw(ctx context.Context, name string) {
	d.objects.Lock()
	defer d.objects.Unlock()
	err := d.changeCSINode(ctx, func(node *storagev1.CSINode) error {
		node.Spec.Drivers = slices.DeleteFunc(node.Spec.Drivers, func(driver storagev1.CSINodeDriver) bool { return driver.Name == name })
		return nil
	})
	if err == nil {
		err = d.changeNode(ctx, func(node *corev1.Node) error { return removeFromNode(node, name) })
	}
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Could not take a CSI driver out of the node's objects", "driver", name)
	}
}

func (d *Drivers) change(ctx context.Context, edit func(*storagev1.CSINode) error) error {
	d.objects.Lock()
	defer d.objects.Unlock()
	return d.changeCSINode(ctx, edit)
}

// changeNode edits the Node, again as long as others do too.
func (d *Drivers) changeNode(ctx context.Context, edit func(*corev1.Node) error) error {
	nodes := d.client.CoreV1().Nodes()
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		before, err := nodes.Get(ctx, d.node, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("reading node %s: %w", d.node, err)
		}
		after := before.DeepCopy()
		if err := edit(after); err != nil {
			return err
		}
		if equality.Semantic.DeepEqual(before, after) {
			return nil
		}
		patch, err := metadataPatch(before, after)
		if err != nil {
			return err
		}
		_, err = nodes.Patch(ctx, d.node, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// metadataPatch sets labels and annotations as they are in after, if nothing else changed the object since before was read.
func metadataPatch(before, after *corev1.Node) ([]byte, error) {
	removed := func(old, now map[string]string) map[string]any {
		out := map[string]any{}
		for key := range old {
			if _, stays := now[key]; !stays {
				out[key] = nil
			}
		}
		for key, value := range now {
			if found, ok := old[key]; !ok || found != value {
				out[key] = value
			}
		}
		return out
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": before.ResourceVersion, "labels": removed(before.Labels, after.Labels), "annotations": removed(before.Annotations, after.Annotations),
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}

// changeCSINode edits the node's CSINode, making one if there is none.
func (d *Drivers) changeCSINode(ctx context.Context, edit func(*storagev1.CSINode) error) error {
	objects := d.client.StorageV1().CSINodes()
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		before, err := objects.Get(ctx, d.node, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return fmt.Errorf("reading CSINode %s: %w", d.node, err)
		}
		if missing {
			if before, err = d.newCSINode(ctx); err != nil {
				return err
			}
		}
		after := before.DeepCopy()
		if err := edit(after); err != nil {
			return err
		}
		switch {
		case missing:
			_, err = objects.Create(ctx, after, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return apierrors.NewConflict(storagev1.Resource("csinodes"), d.node, err)
			}
		case !equality.Semantic.DeepEqual(before, after):
			_, err = objects.Update(ctx, after, metav1.UpdateOptions{})
		}
		return err
	})
}

// newCSINode is the object of a node without drivers. It goes with its Node.
func (d *Drivers) newCSINode(ctx context.Context) (*storagev1.CSINode, error) {
	node, err := d.client.CoreV1().Nodes().Get(ctx, d.node, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading node %s: %w", d.node, err)
	}
	return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{
		Name:            d.node,
		Annotations:     map[string]string{migrated: strings.Join(migratedPlugins(), ",")},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
	}}, nil
}

// migrated is the annotation that lists the former in-tree plugins whose volumes this node leaves to CSI drivers.
const migrated = "storage.alpha.kubernetes.io/migrated-plugins"

func migratedPlugins() []string {
	return []string{
		"kubernetes.io/aws-ebs", "kubernetes.io/azure-disk", "kubernetes.io/azure-file", "kubernetes.io/cinder",
		"kubernetes.io/gce-pd", "kubernetes.io/portworx-volume", "kubernetes.io/vsphere-volume",
	}
}

// addToNode notes the driver's name for the node and its topology. A label that says otherwise is left: two drivers may not
// disagree on where a node is.
func addToNode(node *corev1.Node, driver string, info Info) error {
	ids, err := readIDs(node)
	if err != nil {
		return err
	}
	for key, value := range info.Topology {
		if found, ok := node.Labels[key]; ok && found != value {
			return fmt.Errorf("detected topology value collision: driver reported %q:%q but existing label is %q:%q", key, value, key, found)
		}
	}
	ids[driver] = info.NodeID
	if node.Labels == nil && len(info.Topology) > 0 {
		node.Labels = map[string]string{}
	}
	maps.Copy(node.Labels, info.Topology)
	return writeIDs(node, ids)
}

func removeFromNode(node *corev1.Node, driver string) error {
	ids, err := readIDs(node)
	if err != nil {
		return err
	}
	delete(ids, driver)
	return writeIDs(node, ids)
}

func readIDs(node *corev1.Node) (map[string]string, error) {
	ids := map[string]string{}
	text := node.Annotations[nodeIDs]
	if text == "" {
		return ids, nil
	}
	if err := json.Unmarshal([]byte(text), &ids); err != nil {
		return nil, fmt.Errorf("failed to parse node's %q annotation value (%q): %w", nodeIDs, text, err)
	}
	return ids, nil
}

func writeIDs(node *corev1.Node, ids map[string]string) error {
	if len(ids) == 0 {
		delete(node.Annotations, nodeIDs)
		return nil
	}
	text, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("encoding the node's names: %w", err)
	}
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	node.Annotations[nodeIDs] = string(text)
	return nil
}

// addDriver puts a driver into a CSINode in place of what was there of it.
func addDriver(node *storagev1.CSINode, name string, info Info) {
	entry := storagev1.CSINodeDriver{Name: name, NodeID: info.NodeID, TopologyKeys: slices.Sorted(maps.Keys(info.Topology))}
	if info.MaxVolumes > 0 {
		count := int32(min(info.MaxVolumes, math.MaxInt32))
		entry.Allocatable = &storagev1.VolumeNodeResources{Count: &count}
	}
	at := slices.IndexFunc(node.Spec.Drivers, func(driver storagev1.CSINodeDriver) bool { return driver.Name == name })
	if at < 0 {
		node.Spec.Drivers = append(node.Spec.Drivers, entry)
		return
	}
	node.Spec.Drivers[at] = entry
}
