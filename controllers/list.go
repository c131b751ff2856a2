package controllers

import (
	"skiff/controllers/attachdetach"
	"skiff/controllers/bootstrapsigner"
	"skiff/controllers/certificates"
	"skiff/controllers/clusterroleaggregation"
	"skiff/controllers/clustertrustbundlepublisher"
	"skiff/controllers/cronjob"
	"skiff/controllers/daemonset"
	"skiff/controllers/deployment"
	"skiff/controllers/devicetainteviction"
	"skiff/controllers/disruption"
	"skiff/controllers/endpoints"
	"skiff/controllers/endpointslice"
	"skiff/controllers/endpointslicemirroring"
	"skiff/controllers/ephemeralvolume"
	"skiff/controllers/garbagecollector"
	"skiff/controllers/horizontalpodautoscaler"
	"skiff/controllers/internal/controller"
	"skiff/controllers/job"
	"skiff/controllers/legacytokencleaner"
	"skiff/controllers/namespace"
	"skiff/controllers/nodecertificates"
	"skiff/controllers/nodeipam"
	"skiff/controllers/nodelifecycle"
	"skiff/controllers/persistentvolume"
	"skiff/controllers/podcertificatecleaner"
	"skiff/controllers/podgc"
	"skiff/controllers/pvcprotection"
	"skiff/controllers/pvprotection"
	"skiff/controllers/replicaset"
	"skiff/controllers/replicationcontroller"
	"skiff/controllers/resourceclaim"
	"skiff/controllers/resourcequota"
	"skiff/controllers/rootca"
	"skiff/controllers/serviceaccount"
	"skiff/controllers/serviceaccounttoken"
	"skiff/controllers/servicecidr"
	"skiff/controllers/staledisruption"
	"skiff/controllers/statefulset"
	"skiff/controllers/storageversionmigrator"
	"skiff/controllers/tainteviction"
	"skiff/controllers/tokencleaner"
	"skiff/controllers/ttl"
	"skiff/controllers/ttlafterfinished"
	"skiff/controllers/vacprotection"
	"skiff/controllers/volumeexpand"
)

// entry is one controller: the service account that it acts as ("" for the manager's own identity), the name that its
// events carry, and how it is built.
type entry struct {
	account, component string
	build              func(controller.Env) (controller.Spec, error)
}

// list is the one list of controllers.
func list(cfg Config, deps Deps) []entry {
	all := []entry{
		{"namespace-controller", "namespace-controller", namespace.New},
		{"generic-garbage-collector", "garbage-collector-controller", garbagecollector.New},
		{"service-account-controller", "service-account-controller", serviceaccount.New},
		{"root-ca-cert-publisher", "root-ca-cert-publisher", func(env controller.Env) (controller.Spec, error) {
			return rootca.New(env, deps.RootCA)
		}},
		{"deployment-controller", "deployment-controller", deployment.New},
		{"replicaset-controller", "replicaset-controller", replicaset.New},
		{"daemon-set-controller", "daemonset-controller", daemonset.New},
		{"statefulset-controller", "statefulset-controller", statefulset.New},
		{"job-controller", "job-controller", job.New},
		{"cronjob-controller", "cronjob-controller", cronjob.New},
		{"replication-controller", "replication-controller", replicationcontroller.New},
		{"endpointslice-controller", "endpoint-slice-controller", endpointslice.New},
		{"endpointslicemirroring-controller", "endpoint-slice-mirroring-controller", endpointslicemirroring.New},
		{"node-controller", "node-controller", func(env controller.Env) (controller.Spec, error) {
			return nodelifecycle.New(env, nodelifecycle.Grace{Running: cfg.NodeMonitorGrace, Starting: cfg.NodeStartupGrace})
		}},
		{"node-controller", "taint-eviction-controller", tainteviction.New},
		{"pod-garbage-collector", "pod-garbage-collector", podgc.New},
		{"disruption-controller", "controllermanager", disruption.New},
		{"disruption-controller", "controllermanager", staledisruption.New},
		{"endpoint-controller", "endpoint-controller", endpoints.New},
		{"clusterrole-aggregation-controller", "clusterrole-aggregation-controller", clusterroleaggregation.New},
		{"ttl-after-finished-controller", "ttl-after-finished-controller", ttlafterfinished.New},
		{"node-controller", "cidrAllocator", func(env controller.Env) (controller.Spec, error) {
			return nodeipam.New(env, cfg.ClusterCIDR)
		}},
		{"ttl-controller", "ttl-controller", ttl.New},
		{"service-cidrs-controller", "service-cidr-controller", servicecidr.New},
		{"pvc-protection-controller", "pvc-protection-controller", pvcprotection.New},
		{"pv-protection-controller", "pv-protection-controller", pvprotection.New},
		{"ephemeral-volume-controller", "ephemeral_volume", ephemeralvolume.New},
		{"persistent-volume-binder", "persistentvolume-controller", persistentvolume.New},
		{"expand-controller", "volume_expand", volumeexpand.New},
		{"certificate-controller", "certificate-controller", func(env controller.Env) (controller.Spec, error) {
			return certificates.New(env, deps.Authority)
		}},
		{"node-certificate-approver", "node-certificate-approver", func(env controller.Env) (controller.Spec, error) {
			return nodecertificates.New(env, cfg.Reserved)
		}},
		{"bootstrap-signer", "bootstrap-signer", bootstrapsigner.New},
		{"token-cleaner", "token-cleaner", tokencleaner.New},
		{"legacy-service-account-token-cleaner", "legacy-service-account-token-cleaner", legacytokencleaner.New},
		{"podcertificaterequestcleaner", "podcertificaterequestcleaner", podcertificatecleaner.New},
		{"volumeattributesclass-protection-controller", "volumeattributesclass-protection-controller", vacprotection.New},
		{"resourcequota-controller", "resourcequota-controller", resourcequota.New},
		{"resource-claim-controller", "resource_claim", resourceclaim.New},
		{"attachdetach-controller", "attachdetach-controller", attachdetach.New},
		{"device-taint-eviction-controller", "device-taint-eviction-controller", devicetainteviction.New},
		{"storage-version-migrator-controller", "storage-version-migrator-controller", storageversionmigrator.New},
		{"horizontal-pod-autoscaler", "horizontal-pod-autoscaler", func(env controller.Env) (controller.Spec, error) {
			return horizontalpodautoscaler.New(env, cfg.Autoscaling)
		}},
	}
	if len(deps.RootCA) > 0 {
		all = append(all, entry{"kube-apiserver-serving-clustertrustbundle-publisher", "kube-apiserver-serving-clustertrustbundle-publisher", func(env controller.Env) (controller.Spec, error) {
			return clustertrustbundlepublisher.New(env, deps.RootCA)
		}})
	}
	if deps.Tokens != nil {
		all = append(all, entry{"", "serviceaccount-tokens-controller", func(env controller.Env) (controller.Spec, error) {
			return serviceaccounttoken.New(env, deps.Tokens, deps.RootCA)
		}})
	}
	return all
}
