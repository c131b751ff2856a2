package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	genericserver "k8s.io/apiserver/pkg/server"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"

	"skiff/apis/openapi"
	"skiff/apis/resource"
	"skiff/apis/server/etcd"
)

// Server is the assembled chain aggregator -> built-in -> custom resources.
type Server struct {
	config     Config
	resources  []resource.Resource
	base       *genericserver.Config
	services   aggregator.ServiceResolver
	custom     *apiextensions.CustomResourceDefinitions
	core       *genericserver.GenericAPIServer
	aggregator *aggregator.APIAggregator
	run        func(context.Context) error
	ready      chan struct{}
	dynamic    []dynamicPlugin // of the admission chain, configured by objects
	background sync.WaitGroup  // what the hooks started
	drained    chan struct{}   // closed when no request runs any more
}

// New builds the server and connects the loopback transport to it. It starts
// nothing, but the stores' watch caches begin to fill from etcd.
func New(c Config, resources []resource.Resource) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Server{config: c, resources: resources, ready: make(chan struct{}), drained: make(chan struct{})}
	if err := s.assemble(); err != nil {
		close(s.drained)
		return nil, err
	}
	c.Loopback.Serve(s.Handler())
	if err := s.startPolicies(); err != nil {
		close(s.drained)
		return nil, err
	}
	return s, nil
}

// assemble builds the chain from its end.
func (s *Server) assemble() error {
	b := newBuiltIn(s.resources)
	err := s.configure(b)
	if err != nil {
		return err
	}
	if s.services, err = s.resolver(); err != nil {
		return err
	}
	if err := s.addAdmission(s.base); err != nil {
		return fmt.Errorf("building the admission chain: %w", err)
	}
	if err := s.addCustomResources(); err != nil {
		return fmt.Errorf("building the custom resource server: %w", err)
	}
	if err := s.addBuiltIn(b); err != nil {
		return fmt.Errorf("building the resource server: %w", err)
	}
	if err := s.addAggregator(b); err != nil {
		return fmt.Errorf("building the aggregator: %w", err)
	}
	prepared, err := s.aggregator.PrepareRun()
	if err != nil {
		return fmt.Errorf("preparing the API server: %w", err)
	}
	s.run = prepared.Run
	return nil
}

// addBuiltIn puts the resources in front of the custom resource server.
func (s *Server) addBuiltIn(b builtIn) error {
	cfg := *s.base
	opts := s.config.Etcd.Options(etcd.BuiltInKey, storageCodecs(b.scheme, b.codecs, b.resources), cfg.StorageObjectCountTracker, cfg.ResourceTransformers)
	cfg.RESTOptionsGetter = opts
	cfg.SkipOpenAPIInstallation = true // see publishOpenAPI
	describe(&cfg, openapi.GetOpenAPIDefinitions)
	var err error
	if s.core, err = cfg.Complete(s.config.Informers).New("skiff", s.customDelegate()); err != nil {
		return err
	}
	if err := b.install(s.core, &cfg, opts); err != nil {
		return err
	}
	s.publishOpenAPI(cfg.OpenAPIConfig, cfg.OpenAPIV3Config)
	if err := s.config.Access.Issuer.Discovery(s.core.Handler.NonGoRestfulMux, cfg.ExternalAddress); err != nil {
		return err
	}
	return s.addHooks()
}

// Handler is the whole chain, authentication included.
func (s *Server) Handler() http.Handler { return s.aggregator.GenericAPIServer.Handler }

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.config.Serving.Listener.Addr() }

// Ready is closed when /readyz first answers ok.
func (s *Server) Ready() <-chan struct{} { return s.ready }
