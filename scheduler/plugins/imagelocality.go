package plugins

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

// The image sizes, in bytes, between which a node's score grows from 0 to 100; the upper one counts per container.
const (
	minImageBytes          = 23 * 1024 * 1024
	maxImageContainerBytes = 1000 * 1024 * 1024
)

// ImageLocality prefers nodes that have the pod's images already, weighing each by how many nodes have it, so that pods
// don't crowd on the few that pulled it first.
type ImageLocality struct{}

// Name implements framework.Plugin.
func (ImageLocality) Name() string { return "ImageLocality" }

type imageNames []string

// Clone implements framework.StateData; the names are never changed.
func (n imageNames) Clone() framework.StateData { return n }

// PreScore keeps the images that at least one node has.
func (p ImageLocality) PreScore(_ context.Context, c *framework.Cycle, _ []*framework.NodeInfo) *framework.Status {
	var names imageNames
	for _, containers := range [][]corev1.Container{c.Pod.Pod.Spec.InitContainers, c.Pod.Pod.Spec.Containers} {
		for i := range containers {
			if name := withTag(containers[i].Image); c.Snapshot.ImageNodes(name) > 0 {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), names)
	return nil
}

// withTag adds the tag a name without one means.
func withTag(image string) string {
	if strings.LastIndex(image, ":") <= strings.LastIndex(image, "/") {
		return image + ":latest"
	}
	return image
}

// Score grows with the bytes the node needn't pull.
func (p ImageLocality) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	var sum int64
	for _, name := range framework.State[imageNames](c, p.Name()) {
		if size, ok := node.Images[name]; ok {
			spread := float64(c.Snapshot.ImageNodes(name)) / float64(len(c.Snapshot.Nodes()))
			sum += int64(float64(size) * spread)
		}
	}
	containers := len(c.Pod.Pod.Spec.InitContainers) + len(c.Pod.Pod.Spec.Containers)
	highest := int64(maxImageContainerBytes) * int64(containers)
	sum = min(max(sum, minImageBytes), highest)
	return framework.MaxNodeScore * (sum - minImageBytes) / (highest - minImageBytes), nil
}
