package server

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericserver "k8s.io/apiserver/pkg/server"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
	aggregatoropenapi "k8s.io/kube-aggregator/pkg/generated/openapi"

	"skiff/apis/server/etcd"
)

// addAggregator is the front of the chain: APIServices, local and remote.
func (s *Server) addAggregator(b builtIn) error {
	cfg := *s.base
	cfg.PostStartHooks = map[string]genericserver.PostStartHookConfigEntry{}
	cfg.Serializer = aggregatorscheme.Codecs
	describe(&cfg, aggregatoropenapi.GetOpenAPIDefinitions)
	cfg.SkipOpenAPIInstallation = true // the aggregator serves its own merged documents
	cfg.MergedResourceConfig = aggregator.DefaultAPIResourceConfigSource()
	cfg.MergedResourceConfig.DisableVersions(schema.GroupVersion{Group: apiregistrationv1.GroupName, Version: "v1beta1"})
	codec, err := jsonCodec(aggregatorscheme.Codecs, apiregistrationv1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	cfg.RESTOptionsGetter = s.config.Etcd.Options(etcd.GroupKey, codec, cfg.StorageObjectCountTracker, cfg.ResourceTransformers)
	agg := &aggregator.Config{
		GenericConfig: &genericserver.RecommendedConfig{Config: cfg, SharedInformerFactory: s.config.Informers},
		ExtraConfig: aggregator.ExtraConfig{
			ServiceResolver:     s.services,
			ProxyTransport:      s.config.ProxyTransport,
			ProxyClientCertFile: s.config.Serving.ProxyCertFile,
			ProxyClientKeyFile:  s.config.Serving.ProxyKeyFile,
			// An extension may not send the proxy, with its certificate, elsewhere.
			RejectForwardingRedirects: true,
		},
	}
	if s.aggregator, err = agg.Complete().NewWithDelegate(s.core); err != nil {
		return err
	}
	s.offer(b.resources)
	return s.register(b)
}

// register keeps one APIService for every group version served in the process.
func (s *Server) register(b builtIn) error {
	client, err := clientset.NewForConfig(s.base.LoopbackClientConfig)
	if err != nil {
		return fmt.Errorf("making the APIService client: %w", err)
	}
	services := s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices()
	auto := autoregister.NewAutoRegisterController(services, client.ApiregistrationV1())
	local := localServices(b.resources)
	for _, service := range local {
		auto.AddAPIServiceToSyncOnStart(service)
		gv := metav1.GroupVersion{Group: service.Spec.Group, Version: service.Spec.Version}
		s.base.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(gv, int(service.Spec.GroupPriorityMinimum), int(service.Spec.VersionPriority))
	}
	if err := s.aggregator.GenericAPIServer.AddBootSequenceHealthChecks(registered(local, services.Lister())); err != nil {
		return fmt.Errorf("adding the check of registered APIs: %w", err)
	}
	crds := newCRDRegistration(s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions(), auto)
	return s.aggregator.GenericAPIServer.AddPostStartHook("kube-apiserver-autoregistration", func(hook genericserver.PostStartHookContext) error {
		s.background.Go(func() { crds.run(hook) })
		s.background.Go(func() {
			if crds.waitForInitial(hook) {
				auto.Run(autoregisterWorkers, hook.Done())
			}
		})
		return nil
	})
}
