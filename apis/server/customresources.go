package server

import (
	"fmt"

	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	extensionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"

	"skiff/apis/server/etcd"
)

// addCustomResources is the end of the chain: CRDs and what they define.
func (s *Server) addCustomResources() error {
	cfg := *s.base
	cfg.PostStartHooks = map[string]genericserver.PostStartHookConfigEntry{}
	cfg.Serializer = apiextensions.Codecs
	describe(&cfg, extensionsopenapi.GetOpenAPIDefinitions)
	cfg.MergedResourceConfig = apiextensions.DefaultAPIResourceConfigSource()
	cfg.MergedResourceConfig.DisableVersions(apiextensionsv1beta1.SchemeGroupVersion)
	codec, err := jsonCodec(apiextensions.Codecs, apiextensionsv1beta1.SchemeGroupVersion) // the form that Kubernetes' own store has
	if err != nil {
		return err
	}
	cfg.RESTOptionsGetter = s.config.Etcd.Options(etcd.GroupKey, codec, cfg.StorageObjectCountTracker, cfg.ResourceTransformers)
	crd := &apiextensions.Config{
		GenericConfig: &genericserver.RecommendedConfig{Config: cfg, SharedInformerFactory: s.config.Informers},
		ExtraConfig: apiextensions.ExtraConfig{
			CRDRESTOptionsGetter: s.config.Etcd.Options(etcd.GroupKey, customCodec, cfg.StorageObjectCountTracker, cfg.ResourceTransformers),
			MasterCount:          1,
			ServiceResolver:      s.services,
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(s.config.ProxyTransport, nil, cfg.LoopbackClientConfig, cfg.TracerProvider),
		},
	}
	s.custom, err = crd.Complete().New(genericserver.NewEmptyDelegateWithCustomHandler(notfoundhandler.New(apiextensions.Codecs, genericfilters.NoMuxAndDiscoveryIncompleteKey)))
	return err
}

// customCodec stores custom resources as they are.
func customCodec(schema.GroupResource) runtime.Codec { return unstructured.UnstructuredJSONScheme }

// jsonCodec stores a group that has real conversions (the API's machinery). In
// JSON an empty list differs from none; what was stored as protobuf is read too.
func jsonCodec(codecs serializer.CodecFactory, gv schema.GroupVersion) (etcd.Codec, error) {
	codec, version, err := serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
		StorageMediaType:  runtime.ContentTypeJSON,
		StorageSerializer: codecs,
		StorageVersion:    gv,
		MemoryVersion:     schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal},
	})
	if err != nil {
		return nil, fmt.Errorf("storage codec of %s: %w", gv, err)
	}
	return func(schema.GroupResource) runtime.Codec { return versionedCodec{codec, version} }, nil
}

// versionedCodec knows the stored form, whose hash discovery tells.
type versionedCodec struct {
	runtime.Codec
	version runtime.GroupVersioner
}

// Version is the stored form.
func (c versionedCodec) Version() runtime.GroupVersioner { return c.version }
