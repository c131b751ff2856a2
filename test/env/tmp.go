package env

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"skiff/apis/resource"
)

func tmpResources() []resource.Resource {
	return []resource.Resource{
		resource.Definition[*corev1.ConfigMap]{Resource: corev1.SchemeGroupVersion.WithResource("configmaps"), Kind: "ConfigMap", Singular: "configmap", Object: &corev1.ConfigMap{}, List: &corev1.ConfigMapList{}},
		resource.Definition[*corev1.Namespace]{Resource: corev1.SchemeGroupVersion.WithResource("namespaces"), Kind: "Namespace", Singular: "namespace", ClusterScoped: true, Object: &corev1.Namespace{}, List: &corev1.NamespaceList{}},
		resource.Definition[*corev1.Service]{Resource: corev1.SchemeGroupVersion.WithResource("services"), Kind: "Service", Singular: "service", Object: &corev1.Service{}, List: &corev1.ServiceList{}},
		resource.Definition[*discoveryv1.EndpointSlice]{Resource: discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), Kind: "EndpointSlice", Singular: "endpointslice", Object: &discoveryv1.EndpointSlice{}, List: &discoveryv1.EndpointSliceList{}},
	}
}
