package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
)

// How much of the images a Node lists: it is an object everybody watches.
const (
	maxImages        = 50
	maxNamesPerImage = 5
)

// observation is everything a status is decided from.
type observation struct {
	config      Config
	machine     machine
	capacity    corev1.ResourceList
	allocatable corev1.ResourceList
	runtime     string // such as containerd://2.4.2
	handlers    []cri.Handler
	images      []cri.Image
	pressure    Pressure
	inUse       []corev1.UniqueVolumeName
	notReady    string // why the node is not ready, or empty
}

// observe looks at the node. What cannot be learned makes the node not ready rather than failing.
func (r *Reporter) observe(ctx context.Context) observation {
	o := observation{
		config: r.config, machine: r.machine, capacity: r.Capacity(), allocatable: r.Allocatable(),
	}
	if r.deps.Pressure != nil {
		o.pressure = r.deps.Pressure()
	}
	if r.deps.VolumesInUse != nil {
		o.inUse = r.deps.VolumesInUse()
	}
	problems := r.observeRuntime(ctx, &o)
	if r.deps.Ready != nil {
		if err := r.deps.Ready(); err != nil {
			problems = append(problems, err)
		}
	}
	if err := utilerrors.NewAggregate(problems); err != nil {
		o.notReady = err.Error()
	}
	return o
}

// observeRuntime asks the runtime, answering why it keeps the node from being ready.
func (r *Reporter) observeRuntime(ctx context.Context, o *observation) []error {
	if name, version, err := r.deps.Runtime.Version(ctx); err == nil {
		o.runtime = runtimeVersion(name, version)
	}
	status, err := r.deps.Runtime.Status(ctx)
	if err != nil {
		return []error{errRuntimeDown}
	}
	o.handlers = status.Handlers
	if o.images, err = r.deps.Images.Images(ctx); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Listing images for the node's status failed")
	}
	if status.RuntimeReady && status.NetworkReady {
		return nil
	}
	return []error{notReady(status)}
}

// decide is the status the node shall have, given the one it has.
func decide(previous corev1.NodeStatus, o observation, now time.Time) corev1.NodeStatus {
	status := *previous.DeepCopy()
	status.Capacity, status.Allocatable = o.capacity, o.allocatable
	status.Conditions = conditions(previous.Conditions, o, now)
	status.Addresses = addresses(o.config)
	status.DaemonEndpoints.KubeletEndpoint.Port = o.config.Port
	status.NodeInfo = o.machine.info(o.config.Version, cmp.Or(o.runtime, previous.NodeInfo.ContainerRuntimeVersion))
	status.VolumesInUse = o.inUse
	status.Images = imageList(o.images)
	status.RuntimeHandlers = runtimeHandlers(o.handlers)
	supplemental := true
	status.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &supplemental}
	return status
}

func addresses(config Config) []corev1.NodeAddress {
	list := make([]corev1.NodeAddress, 0, len(config.IPs)+1)
	for _, ip := range config.IPs {
		list = append(list, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	return append(list, corev1.NodeAddress{Type: corev1.NodeHostName, Address: config.Hostname})
}

// imageList lists the largest images under a few of their names, so that the scheduler can prefer nodes that have them.
func imageList(images []cri.Image) []corev1.ContainerImage {
	sorted := slices.SortedStableFunc(slices.Values(images), func(a, b cri.Image) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID))
	})
	list := make([]corev1.ContainerImage, 0, min(len(sorted), maxImages))
	for _, image := range sorted[:min(len(sorted), maxImages)] {
		names := slices.Concat(image.RepoDigests, image.Tags)
		list = append(list, corev1.ContainerImage{Names: names[:min(len(names), maxNamesPerImage)], SizeBytes: image.Size})
	}
	return list
}

func runtimeHandlers(handlers []cri.Handler) []corev1.NodeRuntimeHandler {
	list := make([]corev1.NodeRuntimeHandler, 0, len(handlers))
	for _, h := range handlers {
		list = append(list, corev1.NodeRuntimeHandler{
			Name: h.Name,
			Features: &corev1.NodeRuntimeHandlerFeatures{
				RecursiveReadOnlyMounts: &h.RecursiveReadOnlyMounts, UserNamespaces: &h.UserNamespaces,
			},
		})
	}
	slices.SortFunc(list, func(a, b corev1.NodeRuntimeHandler) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
