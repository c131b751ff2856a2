// Package cached lists the kinds that the process holds for one component or another anyway, so that controllers
// that look at every kind need no caches of their own for them.
package cached

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Informers answers those kinds by their resource.
func Informers(factory informers.SharedInformerFactory) map[schema.GroupVersionResource]cache.SharedIndexInformer {
	core, apps, batch := factory.Core().V1(), factory.Apps().V1(), factory.Batch().V1()
	coreKind, appsKind, batchKind := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, batchv1.SchemeGroupVersion
	return map[schema.GroupVersionResource]cache.SharedIndexInformer{
		coreKind.WithResource("pods"):                                    core.Pods().Informer(),
		coreKind.WithResource("services"):                                core.Services().Informer(),
		coreKind.WithResource("nodes"):                                   core.Nodes().Informer(),
		coreKind.WithResource("namespaces"):                              core.Namespaces().Informer(),
		coreKind.WithResource("serviceaccounts"):                         core.ServiceAccounts().Informer(),
		coreKind.WithResource("configmaps"):                              core.ConfigMaps().Informer(),
		coreKind.WithResource("secrets"):                                 core.Secrets().Informer(),
		coreKind.WithResource("replicationcontrollers"):                  core.ReplicationControllers().Informer(),
		coreKind.WithResource("resourcequotas"):                          core.ResourceQuotas().Informer(),
		coreKind.WithResource("persistentvolumeclaims"):                  core.PersistentVolumeClaims().Informer(),
		appsKind.WithResource("deployments"):                             apps.Deployments().Informer(),
		appsKind.WithResource("replicasets"):                             apps.ReplicaSets().Informer(),
		appsKind.WithResource("daemonsets"):                              apps.DaemonSets().Informer(),
		appsKind.WithResource("statefulsets"):                            apps.StatefulSets().Informer(),
		appsKind.WithResource("controllerrevisions"):                     apps.ControllerRevisions().Informer(),
		batchKind.WithResource("jobs"):                                   batch.Jobs().Informer(),
		batchKind.WithResource("cronjobs"):                               batch.CronJobs().Informer(),
		discoveryv1.SchemeGroupVersion.WithResource("endpointslices"):    factory.Discovery().V1().EndpointSlices().Informer(),
		coordinationv1.SchemeGroupVersion.WithResource("leases"):         factory.Coordination().V1().Leases().Informer(),
		policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"): factory.Policy().V1().PodDisruptionBudgets().Informer(),
	}
}
