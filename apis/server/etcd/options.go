package etcd

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/tools/cache"
)

// prefix is where every Kubernetes tool expects the keys.
const prefix = "/registry"

// Key chooses the etcd path of a resource, below the prefix.
type Key func(schema.GroupResource) string

// BuiltInKey is the plural name alone, with the five historic exceptions that
// backup and inspection tools know. Two groups serving one plural share the
// objects, as events and events.k8s.io must.
func BuiltInKey(gr schema.GroupResource) string {
	switch gr.Resource {
	case "endpoints":
		return "services/endpoints"
	case "services":
		return "services/specs"
	case "nodes":
		return "minions"
	case "replicationcontrollers":
		return "controllers"
	case "ingresses":
		return "ingress"
	}
	return gr.Resource
}

// GroupKey is group/plural: custom resources and the API's own machinery.
func GroupKey(gr schema.GroupResource) string { return gr.Group + "/" + gr.Resource }

// Codec chooses how the objects of a resource are written to etcd.
type Codec func(schema.GroupResource) runtime.Codec

// Options builds storage for a delegate server's resources. It implements
// generic.RESTOptionsGetter.
type Options struct {
	etcd       *Etcd
	key        Key
	codec      Codec
	tracker    flowcontrolrequest.StorageObjectCountTracker
	encryption value.ResourceTransformers
	clock      paced
}

// Options returns the storage options for resources kept under key and encoded
// by codec; tracker learns object counts, which weigh list requests in priority
// and fairness. Values are written in clear if encryption is nil.
func (e *Etcd) Options(key Key, codec Codec, tracker flowcontrolrequest.StorageObjectCountTracker, encryption value.ResourceTransformers) *Options {
	return &Options{etcd: e, key: key, codec: codec, tracker: tracker, encryption: encryption, clock: e.clock}
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o *Options) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	codec := o.codec(gr)
	cfg := storagebackend.NewDefaultConfig(prefix, codec)
	if c, ok := codec.(interface{ Version() runtime.GroupVersioner }); ok {
		cfg.EncodeVersioner = c.Version()
	}
	cfg.StorageObjectCountTracker = o.tracker
	return generic.RESTOptions{
		StorageConfig:             cfg.ForResource(gr),
		Decorator:                 o.decorate,
		EnableGarbageCollection:   true,
		DeleteCollectionWorkers:   1,
		ResourcePrefix:            o.key(gr),
		CountMetricPollPeriod:     time.Minute,
		StorageObjectCountTracker: o.tracker,
	}, nil
}

// ports is what the node ports of Services are kept as.
var ports = schema.GroupResource{Resource: "rangeallocations"}

// decorate is a generic.StorageDecorator. Events are many, short-lived and
// rarely read, so they get no cache, as in upstream's defaults; node ports are
// only ever taken and freed.
func (o *Options) decorate(
	config *storagebackend.ConfigForResource, resourcePrefix string,
	keyFunc func(obj runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object,
	getAttrs storage.AttrFunc, trigger storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	versioner := storage.APIObjectVersioner{}
	store, err := etcd3.New(o.etcd.Client, o.etcd.compactor, config.Codec, newFunc, newListFunc, config.Prefix, resourcePrefix, config.GroupResource,
		transformer(o.encryption, config.GroupResource), config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		return nil, nil, err
	}
	gr := config.GroupResource
	if gr == ports || gr.Resource == "events" && (gr.Group == "" || gr.Group == "events.k8s.io") {
		return store, sync.OnceFunc(store.Close), nil
	}
	cached, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: store, Versioner: versioner, GroupResource: config.GroupResource,
		EventsHistoryWindow: config.EventsHistoryWindow, ResourcePrefix: resourcePrefix,
		KeyFunc: keyFunc, NewFunc: newFunc, NewListFunc: newListFunc, GetAttrsFunc: getAttrs,
		IndexerFuncs: trigger, Indexers: indexers, Codec: config.Codec, Clock: o.clock,
	})
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	delegator := cacher.NewCacheDelegator(cached, store)
	return delegator, sync.OnceFunc(func() {
		delegator.Stop()
		cached.Stop()
		store.Close()
	}), nil
}
