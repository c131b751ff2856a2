package kubelet

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
)

// awaitRuntime waits until the runtime can run pods and has the sandbox image. That the network isn't ready yet is a matter of
// each pod that needs it.
func (k *Kubelet) awaitRuntime(ctx context.Context) error {
	told := false
	for {
		status, err := k.deps.Runtime.Status(ctx)
		present := k.config.PauseImage == ""
		if err == nil && !present {
			_, present, err = k.deps.Runtime.Image(ctx, k.config.PauseImage)
		}
		if err == nil && status.RuntimeReady && present {
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if !told && err != nil {
			told = true
			klog.FromContext(ctx).Info("Waiting for the container runtime", "err", err)
		}
		if !pause(ctx, retry) {
			return nil
		}
	}
}

// follow hands the runtime's events to the workers. When the stream breaks every worker looks again.
func (k *Kubelet) follow(ctx context.Context) error {
	for wait := retry; ; wait = min(2*wait, 5*time.Second) {
		begun := time.Now()
		err := k.deps.Runtime.Events(ctx, k.pods.WakeAll, func(e cri.Event) {
			if e.UID != "" {
				k.pods.Wake(types.UID(e.UID))
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		klog.FromContext(ctx).Error(err, "Lost the runtime's events")
		if time.Since(begun) > time.Minute {
			wait = retry
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}
