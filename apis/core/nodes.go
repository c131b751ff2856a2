package core

import (
	"context"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func nodes(deps Deps) resource.Resource {
	return resource.Definition[*corev1.Node]{
		Resource:       corev1.SchemeGroupVersion.WithResource("nodes"),
		Kind:           "Node",
		Singular:       "node",
		ShortNames:     []string{"no"},
		ClusterScoped:  true,
		Object:         &corev1.Node{},
		List:           &corev1.NodeList{},
		Types:          map[schema.GroupVersion][]runtime.Object{corev1.SchemeGroupVersion: {&corev1.NodeProxyOptions{}}},
		Register:       register,
		Name:           apivalidation.NameIsDNSSubdomain,
		Default:        defaultNode,
		Prepare:        prepareNode,
		Validate:       validateNode,
		Warn:           warnNode,
		Gates:          map[string]bool{"InPlacePodVerticalScalingSchedulerPreemption": false},
		NoGeneration:   true,
		Spec:           func(n *corev1.Node) any { return &n.Spec },
		Status:         func(n *corev1.Node) any { return &n.Status },
		KeepStatus:     true,
		PrepareStatus:  func(_ context.Context, n, _ *corev1.Node) { n.Status.Config = nil },
		ValidateStatus: validateNodeUpdate,
		Fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		},
		Columns: nodeColumns(),
		Subresources: map[string]func(*registry.Store) rest.Storage{
			"proxy": func(s *registry.Store) rest.Storage { return nodeProxy(s, deps.Kubelet) },
		},
	}
}

// defaultNode keeps podCIDR and podCIDRs telling the same, and takes all of a
// node's capacity for allocatable where nothing else is said.
func defaultNode(n *corev1.Node) {
	if n.Spec.PodCIDR != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != n.Spec.PodCIDR) {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	podspec.RoundUp(n.Status.Capacity)
	podspec.RoundUp(n.Status.Allocatable)
	if n.Status.Capacity != nil && n.Status.Allocatable == nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

// prepareNode drops what no kubelet heeds any more, or not yet.
func prepareNode(_ context.Context, obj, _ *corev1.Node) {
	obj.Spec.PodPreemptionPolicy = nil
	obj.Spec.ConfigSource = nil
	obj.Status.Config = nil
}

const (
	rolePrefix = "node-role.kubernetes.io/"
	roleLabel  = "kubernetes.io/role"
)

func nodeColumns() []resource.Column[*corev1.Node] {
	info := corev1.NodeSystemInfo{}.SwaggerDoc()
	type node = *corev1.Node
	return []resource.Column[node]{
		{Name: "Status", Type: "string", Help: "The status of the node", Value: nodeState},
		{Name: "Roles", Type: "string", Help: "The roles of the node", Value: nodeRoles},
		resource.AgeColumn[node](),
		{Name: "Version", Type: "string", Help: info["kubeletVersion"], Value: func(n node) any { return n.Status.NodeInfo.KubeletVersion }},
		{Name: "Internal-IP", Type: "string", Priority: 1, Help: corev1.NodeStatus{}.SwaggerDoc()["addresses"], Value: nodeAddress(corev1.NodeInternalIP)},
		{Name: "External-IP", Type: "string", Priority: 1, Help: corev1.NodeStatus{}.SwaggerDoc()["addresses"], Value: nodeAddress(corev1.NodeExternalIP)},
		{Name: "OS-Image", Type: "string", Priority: 1, Help: info["osImage"], Value: func(n node) any { return orUnknown(n.Status.NodeInfo.OSImage) }},
		{Name: "Kernel-Version", Type: "string", Priority: 1, Help: info["kernelVersion"], Value: func(n node) any { return kernelOf(&n.Status.NodeInfo) }},
		{Name: "Container-Runtime", Type: "string", Priority: 1, Help: info["containerRuntimeVersion"], Value: func(n node) any { return orUnknown(n.Status.NodeInfo.ContainerRuntimeVersion) }},
	}
}

// kernelOf is the kernel's version, and for what processors.
func kernelOf(s *corev1.NodeSystemInfo) string {
	if s.Architecture == "" {
		return orUnknown(s.KernelVersion)
	}
	return orUnknown(s.KernelVersion) + " (" + s.Architecture + ")"
}

func orUnknown(s string) string {
	if s == "" {
		return "<unknown>"
	}
	return s
}

func nodeState(n *corev1.Node) any {
	state := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			state = "NotReady"
			if c.Status == corev1.ConditionTrue {
				state = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		state += ",SchedulingDisabled"
	}
	return state
}

func nodeRoles(n *corev1.Node) any {
	var roles []string
	for k, v := range n.Labels {
		switch {
		case strings.HasPrefix(k, rolePrefix) && len(k) > len(rolePrefix):
			roles = append(roles, strings.TrimPrefix(k, rolePrefix))
		case k == roleLabel && v != "":
			roles = append(roles, v)
		}
	}
	if len(roles) == 0 {
		return "<none>"
	}
	slices.Sort(roles)
	return strings.Join(slices.Compact(roles), ",")
}

func nodeAddress(kind corev1.NodeAddressType) func(*corev1.Node) any {
	return func(n *corev1.Node) any {
		for _, a := range n.Status.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
		return "<none>"
	}
}
