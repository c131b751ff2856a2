package plugins

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// Configured answers the plugins of a profile: those given, but with the plugins that take arguments or record events
// made anew for the profile. The others are shared between profiles, and with them what they know. Arguments are by
// plugin; those missing mean upstream's defaults. It fails for arguments of another plugin's type or that can't be used.
func Configured(d Deps, shared []framework.Enabled, args map[string]runtime.Object) ([]framework.Enabled, error) {
	own := make([]framework.Enabled, len(shared))
	for i, e := range shared {
		plugin, err := configure(d, e.Plugin, args[e.Plugin.Name()])
		if err != nil {
			return nil, fmt.Errorf("configuring plugin %s: %w", e.Plugin.Name(), err)
		}
		own[i] = framework.Enabled{Plugin: plugin, Weight: e.Weight}
	}
	return own, nil
}

func configure(d Deps, shared framework.Plugin, args runtime.Object) (framework.Plugin, error) {
	switch p := shared.(type) {
	case NodeAffinity:
		return with(args, NewNodeAffinity)
	case NodeResourcesFit:
		return with(args, func(a *schedv1.NodeResourcesFitArgs) (NodeResourcesFit, error) { return NewNodeResourcesFit(d, a), nil })
	case BalancedAllocation:
		return with(args, func(a *schedv1.NodeResourcesBalancedAllocationArgs) (BalancedAllocation, error) {
			return NewBalancedAllocation(a), nil
		})
	case *PodTopologySpread:
		return with(args, func(a *schedv1.PodTopologySpreadArgs) (*PodTopologySpread, error) {
			return NewPodTopologySpread(d, a), nil
		})
	case *InterPodAffinity:
		return with(args, func(a *schedv1.InterPodAffinityArgs) (*InterPodAffinity, error) {
			return NewInterPodAffinity(d, a), nil
		})
	case *DynamicResources:
		return with(args, func(a *schedv1.DynamicResourcesArgs) (*DynamicResources, error) {
			return NewDynamicResources(d, a), nil
		})
	case *DefaultPreemption:
		return with(args, func(a *schedv1.DefaultPreemptionArgs) (*DefaultPreemption, error) {
			return NewDefaultPreemption(d, a), nil
		})
	case *VolumeBinding:
		return with(args, func(a *schedv1.VolumeBindingArgs) (*VolumeBinding, error) { return p.WithArgs(a), nil })
	default:
		if args != nil {
			return nil, fmt.Errorf("it takes no arguments, but has %T", args)
		}
		return shared, nil
	}
}

// with makes a plugin of its arguments' type.
func with[A runtime.Object, P framework.Plugin](args runtime.Object, build func(A) (P, error)) (framework.Plugin, error) {
	var typed A
	if args != nil {
		var ok bool
		if typed, ok = args.(A); !ok {
			return nil, fmt.Errorf("its arguments are %T, not %T", args, typed)
		}
	}
	return build(typed)
}
