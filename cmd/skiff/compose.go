package main

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/klog/v2"

	"skiff/config"
	"skiff/internal/memory"
	"skiff/kubelet/cgroupfs"
)

// runCluster runs everything a server is until asked ends or a part fails. Parts
// stand in layers: the runtime and the API below, what uses them above.
func runCluster(asked context.Context, cfg *config.Config, open ports) error {
	ctx, fail := context.WithCancelCause(asked)
	defer fail(nil)
	memory.Start()
	h, err := newHost(cfg, open)
	if err != nil {
		return err
	}
	below, api, above := newLayer(ctx, fail), newLayer(ctx, fail), newLayer(ctx, fail)
	defer below.close()
	var runtime *runtimeParts
	if !cfg.NoNode {
		if err := cgroupfs.Ensure(); err != nil {
			return err
		}
		if runtime, err = newRuntime(h); err != nil {
			return err
		}
		below.run("containerd", runtime.containerd.Run)
	}
	control, err := newControlPlane(ctx, h)
	if err != nil {
		return err
	}
	defer control.close(ctx)
	below.run("pki", h.pki.Run)
	api.run("apiserver", control.api.Run)
	defer api.close()
	if err := h.writeKubeconfig(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ended(asked, ctx)
	case <-control.api.Ready():
		klog.FromContext(ctx).Info("API ready", "address", h.url())
	}
	defer above.close()
	if err := compose(ctx, h, control, runtime, above); err != nil {
		return err
	}
	<-ctx.Done()
	return ended(asked, ctx)
}

// compose builds the components, fills the cache they share, and runs them.
func compose(ctx context.Context, h *host, control *controlPlane, runtime *runtimeParts, l *layer) error {
	if h.APIOnly {
		l.run("memory", memory.Settle)
		return nil
	}
	components, err := newComponents(h, control)
	if err != nil {
		return err
	}
	var node *nodeParts
	if runtime != nil {
		access, err := control.nodeAccess(h)
		if err != nil {
			return err
		}
		if node, err = newNode(ctx, h, access, runtime); err != nil {
			return err
		}
		if err := node.exposed(control); err != nil {
			return err
		}
		defer node.handOver(l)
	}
	control.informers.Start(l.ctx.Done())
	l.run("memory", memory.Settle)
	l.run("controllers", components.controllers.Run)
	l.run("scheduler", components.scheduler.Run)
	if components.hollow != nil {
		l.run("hollow", func(ctx context.Context) error {
			// The node of this host comes first: its pods get the first range of addresses.
			if node != nil {
				if _, err := node.reporter.PodCIDRs(ctx); err != nil {
					return err
				}
			}
			return components.hollow.Run(ctx)
		})
	}
	return nil
}

// ended answers why ctx ended: nil when asked did, by a signal, else the failure of a part.
func ended(asked, ctx context.Context) error {
	cause := context.Cause(ctx)
	if asked.Err() != nil && errors.Is(cause, context.Cause(asked)) {
		return nil
	}
	return cause
}

// building names the part of a cluster that could not be built.
func building(part string, err error) error { return fmt.Errorf("building the %s: %w", part, err) }
