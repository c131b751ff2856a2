// Package manifests holds the objects that every cluster has from its first
// second: the default roles and bindings, priority classes, flow schemas,
// priority levels and system namespaces, as upstream v1.37 makes them, the role
// for metrics.k8s.io that metrics-server brings along, and what a cluster with a
// node of skiff's has beyond: storage on the node's disk, Ingresses, load balancing,
// and the rights by which further nodes join.
package manifests

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed *.yaml
var files embed.FS

// read decodes every document of a file.
func read[T any](name string) ([]T, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the bootstrap objects: %w", err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data))
	var out []T
	for {
		var o T
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the bootstrap objects in %s: %w", name, err)
		}
		out = append(out, o)
	}
}

// ClusterRoles are the default cluster roles.
func ClusterRoles() ([]rbacv1.ClusterRole, error) {
	return read[rbacv1.ClusterRole]("clusterroles.yaml")
}

// ClusterRoleBindings are the default cluster role bindings.
func ClusterRoleBindings() ([]rbacv1.ClusterRoleBinding, error) {
	return read[rbacv1.ClusterRoleBinding]("clusterrolebindings.yaml")
}

// Roles are the default roles of system namespaces.
func Roles() ([]rbacv1.Role, error) { return read[rbacv1.Role]("roles.yaml") }

// RoleBindings are the default role bindings of system namespaces.
func RoleBindings() ([]rbacv1.RoleBinding, error) {
	return read[rbacv1.RoleBinding]("rolebindings.yaml")
}

// PriorityClasses are the two system priority classes.
func PriorityClasses() ([]schedulingv1.PriorityClass, error) {
	return read[schedulingv1.PriorityClass]("priorityclasses.yaml")
}

// FlowSchemas sort requests into priority levels.
func FlowSchemas() ([]flowcontrolv1.FlowSchema, error) {
	return read[flowcontrolv1.FlowSchema]("flowschemas.yaml")
}

// PriorityLevels share the server's concurrency out.
func PriorityLevels() ([]flowcontrolv1.PriorityLevelConfiguration, error) {
	return read[flowcontrolv1.PriorityLevelConfiguration]("prioritylevelconfigurations.yaml")
}

// Namespaces are the system namespaces.
func Namespaces() ([]corev1.Namespace, error) { return read[corev1.Namespace]("namespaces.yaml") }

// StorageClasses is the default class, of volumes on the nodes' disks.
func StorageClasses() ([]storagev1.StorageClass, error) {
	return read[storagev1.StorageClass]("storageclasses.yaml")
}

// LocalPathClusterRoles is what the provisioner of that class may do.
func LocalPathClusterRoles() ([]rbacv1.ClusterRole, error) {
	return read[rbacv1.ClusterRole]("localpath-clusterroles.yaml")
}

// LocalPathClusterRoleBindings lets it.
func LocalPathClusterRoleBindings() ([]rbacv1.ClusterRoleBinding, error) {
	return read[rbacv1.ClusterRoleBinding]("localpath-clusterrolebindings.yaml")
}

// IngressClasses is the default class, of Ingresses that the nodes serve.
func IngressClasses() ([]networkingv1.IngressClass, error) {
	return read[networkingv1.IngressClass]("ingressclasses.yaml")
}

// IngressClusterRoles is what the controller of that class may do.
func IngressClusterRoles() ([]rbacv1.ClusterRole, error) {
	return read[rbacv1.ClusterRole]("ingress-clusterroles.yaml")
}

// IngressClusterRoleBindings lets it.
func IngressClusterRoleBindings() ([]rbacv1.ClusterRoleBinding, error) {
	return read[rbacv1.ClusterRoleBinding]("ingress-clusterrolebindings.yaml")
}

// LoadBalancerClusterRoles is what gives Services the addresses of nodes may do.
func LoadBalancerClusterRoles() ([]rbacv1.ClusterRole, error) {
	return read[rbacv1.ClusterRole]("loadbalancer-clusterroles.yaml")
}

// LoadBalancerClusterRoleBindings lets it.
func LoadBalancerClusterRoleBindings() ([]rbacv1.ClusterRoleBinding, error) {
	return read[rbacv1.ClusterRoleBinding]("loadbalancer-clusterrolebindings.yaml")
}

// JoiningClusterRoles are those of joining and joined nodes that upstream has none for.
func JoiningClusterRoles() ([]rbacv1.ClusterRole, error) {
	return read[rbacv1.ClusterRole]("joining-clusterroles.yaml")
}

// JoiningClusterRoleBindings say what bootstrap tokens, joined nodes and the approver of their certificates may.
func JoiningClusterRoleBindings() ([]rbacv1.ClusterRoleBinding, error) {
	return read[rbacv1.ClusterRoleBinding]("joining-clusterrolebindings.yaml")
}

// JoiningRoles is the role that reads the settings all nodes share.
func JoiningRoles() ([]rbacv1.Role, error) { return read[rbacv1.Role]("joining-roles.yaml") }

// JoiningRoleBindings gives it to the nodes.
func JoiningRoleBindings() ([]rbacv1.RoleBinding, error) {
	return read[rbacv1.RoleBinding]("joining-rolebindings.yaml")
}
