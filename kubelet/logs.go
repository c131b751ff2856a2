package kubelet

import (
	"context"
	"slices"

	"skiff/kubelet/cri"
	"skiff/kubelet/logs"
)

// containerLogs answers the logs that containers of this node's pods are writing.
type containerLogs struct{ *Kubelet }

// RunningLogs implements logs.Containers.
func (k containerLogs) RunningLogs(context.Context) ([]logs.Running, error) {
	var out []logs.Running
	for _, p := range k.pods.Pods() {
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses) {
			if c, ok := k.pods.Container(p.UID, s.Name, false); ok && c.State == cri.Running && c.LogPath != "" {
				out = append(out, logs.Running{ContainerID: c.ID, Path: c.LogPath})
			}
		}
	}
	return out, nil
}

// ReopenLog implements logs.Containers.
func (k containerLogs) ReopenLog(ctx context.Context, id string) error {
	return k.deps.Runtime.ReopenLog(ctx, id)
}
