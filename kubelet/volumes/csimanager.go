package volumes

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	translation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"

	"skiff/kubelet/csi"
	"skiff/kubelet/objects"
)

// newCSI makes the kind of drivers' volumes. Volumes that pods had in an earlier process are in use from the start, so that
// none is detached before its pod is known again.
func newCSI(config Config, deps Deps, reader *objects.Reader) (*csiVolumes, error) {
	nodes, drivers := deps.Informers.Core().V1().Nodes(), deps.Drivers
	if drivers == nil {
		drivers = csi.New(csi.Config{}, csi.Deps{Client: deps.Client})
	}
	kinds := deps.Informers.Storage().V1().CSIDrivers()
	_ = kinds.Informer()
	c := &csiVolumes{
		layout: csiLayout{config.Root}, drivers: drivers, objects: kinds.Lister(), attached: newAttachments(nodes.Lister(), deps.InUse),
		locks: newLocks(), tokens: newProjections(reader, deps), events: deps.Events, translate: translation.New(),
		staged: map[corev1.UniqueVolumeName]bool{},
	}
	_, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.attached.nodeChanged() },
		UpdateFunc: func(any, any) { c.attached.nodeChanged() },
	})
	if err != nil {
		return nil, fmt.Errorf("watching nodes: %w", err)
	}
	known, err := c.layout.all()
	if err != nil {
		klog.Background().Error(err, "Could not read some of the volumes of an earlier process")
	}
	for _, h := range known {
		if h.Mode == storagev1.VolumeLifecycleEphemeral {
			continue // a pod's own is attached to nothing
		}
		c.attached.keep(uniqueName(h.Driver, h.Handle), h.pod)
	}
	return c, nil
}

// VolumesInUse lists the volumes that may not be detached from the node, for its status.
func (m *Manager) VolumesInUse() []corev1.UniqueVolumeName { return m.csi.attached.inUse() }

// DriversChanged has pods that wait for a driver try again.
func (m *Manager) DriversChanged() {
	m.mu.Lock()
	known := make(map[types.UID]*tracked, len(m.tracked))
	maps.Copy(known, m.tracked)
	m.mu.Unlock()
	for uid := range known {
		m.agenda.add(uid, time.Now())
	}
}
