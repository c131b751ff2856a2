package server

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage/names"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/restmapper"

	"skiff/apis/openapi"
	"skiff/apis/server/admission/certificates"
	"skiff/apis/server/admission/ingressclass"
	"skiff/apis/server/admission/limitranger"
	"skiff/apis/server/admission/noderestriction"
	"skiff/apis/server/admission/nodetaint"
	"skiff/apis/server/admission/podsecurity"
	"skiff/apis/server/admission/priority"
	"skiff/apis/server/admission/runtimeclass"
	"skiff/apis/server/admission/serviceaccount"
	"skiff/apis/server/admission/storageclass"
	"skiff/apis/server/admission/storageprotection"
	"skiff/apis/server/admission/tolerationseconds"
	"skiff/apis/server/admission/volumeresize"
)

// mapperRefresh is how often policies learn of new kinds without a miss.
const mapperRefresh = 30 * time.Second

// plugin is one member of the chain with the name its metrics carry.
type plugin struct {
	name    string
	handler admission.Interface
}

// addAdmission builds the chain in upstream's order: what fills in objects
// first, then policies and webhooks. A plugin whose group isn't served is left out.
func (s *Server) addAdmission(cfg *genericserver.Config) error {
	client, err := kubernetes.NewForConfig(cfg.LoopbackClientConfig)
	if err != nil {
		return fmt.Errorf("making the admission client: %w", err)
	}
	plugins, err := s.own(client)
	if err != nil {
		return err
	}
	generic, err := s.generic(cfg, client)
	if err != nil {
		return err
	}
	chain := make([]admission.Interface, 0, len(plugins)+len(generic))
	for _, p := range append(plugins, generic...) {
		chain = append(chain, admissionmetrics.WithControllerMetrics(p.handler, p.name))
	}
	cfg.AdmissionControl = admissionmetrics.WithStepMetrics(admission.NewChainHandler(chain...))
	return nil
}

// own lists the plugins of apis/server/admission, after the namespace check.
func (s *Server) own(client kubernetes.Interface) ([]plugin, error) {
	i := s.config.Informers
	namespaces, err := lifecycle.NewLifecycle(sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic))
	if err != nil {
		return nil, fmt.Errorf("making the namespace lifecycle plugin: %w", err)
	}
	namespaces.SetExternalKubeInformerFactory(i)
	namespaces.SetExternalKubeClientSet(client)
	out := []plugin{
		{lifecycle.PluginName, namespaces},
		{limitranger.Name, limitranger.New(i)},
		{serviceaccount.Name, serviceaccount.New(i, client, names.SimpleNameGenerator.GenerateName)},
		{noderestriction.Name, noderestriction.New(i, client)},
		{nodetaint.Name, nodetaint.New()},
	}
	security, err := podsecurity.New(i, client)
	if err != nil {
		return nil, err
	}
	out = append(out, plugin{podsecurity.Name, security})
	add := func(group, name string, make func() admission.Interface) {
		if serves(s.resources, group) {
			out = append(out, plugin{name, make()})
		}
	}
	add("scheduling.k8s.io", priority.Name, func() admission.Interface { return priority.New(i, client) })
	out = append(out, plugin{tolerationseconds.Name, tolerationseconds.New()})
	add("storage.k8s.io", storageclass.Name, func() admission.Interface { return storageclass.New(i) })
	out = append(out, plugin{storageprotection.Name, storageprotection.New()})
	add("storage.k8s.io", volumeresize.Name, func() admission.Interface { return volumeresize.New(i) })
	add("node.k8s.io", runtimeclass.Name, func() admission.Interface { return runtimeclass.New(i, client) })
	if serves(s.resources, "certificates.k8s.io") {
		z := s.config.Access.Authorizer
		out = append(out,
			plugin{certificates.ApprovalName, certificates.Approval(z)}, plugin{certificates.SigningName, certificates.Signing(z)},
			plugin{certificates.BundleName, certificates.Attest(z)}, plugin{certificates.SubjectName, certificates.Subject()})
	}
	add("networking.k8s.io", ingressclass.Name, func() admission.Interface { return ingressclass.New(i) })
	return out, nil
}

// generic lists the policies and webhooks of k8s.io/apiserver.
func (s *Server) generic(cfg *genericserver.Config, client kubernetes.Interface) ([]plugin, error) {
	if !serves(s.resources, "admissionregistration.k8s.io") {
		return nil, nil
	}
	mutatingPolicy, err := mutatingpolicy.NewPlugin(nil)
	if err != nil {
		return nil, fmt.Errorf("making mutating policies: %w", err)
	}
	validatingPolicy, err := validatingpolicy.NewPlugin(nil)
	if err != nil {
		return nil, fmt.Errorf("making validating policies: %w", err)
	}
	mutating, err := mutatingwebhook.NewMutatingWebhook(nil)
	if err != nil {
		return nil, fmt.Errorf("making mutating webhooks: %w", err)
	}
	validating, err := validatingwebhook.NewValidatingAdmissionWebhook(nil)
	if err != nil {
		return nil, fmt.Errorf("making validating webhooks: %w", err)
	}
	initialize, err := s.initializer(cfg, client)
	if err != nil {
		return nil, err
	}
	out := []plugin{
		{mutatingpolicy.PluginName, mutatingPolicy},
		{mutatingwebhook.PluginName, mutating},
		{validatingpolicy.PluginName, validatingPolicy},
		{validatingwebhook.PluginName, validating},
	}
	for _, p := range out {
		initialize.Initialize(p.handler)
		if err := admission.ValidateInitialization(p.handler); err != nil {
			return nil, fmt.Errorf("initializing %s: %w", p.name, err)
		}
	}
	return out, nil
}

// initializer hands the generic plugins what they ask for.
func (s *Server) initializer(cfg *genericserver.Config, client kubernetes.Interface) (admission.PluginInitializer, error) {
	dynamicClient, err := dynamic.NewForConfig(cfg.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("making the policy parameter client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	err = cfg.AddPostStartHook("start-apiserver-admission-initializer", func(h genericserver.PostStartHookContext) error {
		s.background.Go(func() { wait.Until(mapper.Reset, mapperRefresh, h.Done()) })
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scheduling the discovery refresh: %w", err)
	}
	auth := webhook.NewDefaultAuthenticationInfoResolverWrapper(s.config.ProxyTransport, nil, cfg.LoopbackClientConfig, cfg.TracerProvider)
	schemas := resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, clientscheme.Scheme).
		Combine(&resolver.ClientDiscoveryResolver{Discovery: client.Discovery()})
	return initializers{
		initializer.New(client, dynamicClient, s.config.Informers, s.config.Access.Authorizer, utilfeature.DefaultFeatureGate, cfg.EffectiveVersion, s.drained, mapper),
		webhookinit.NewPluginInitializer(auth, s.services),
		initializer.NewAPIServerIDInitializer(cfg.APIServerID),
		policies{schemas},
	}, nil
}

// initializers apply one after another.
type initializers []admission.PluginInitializer

// Initialize implements admission.PluginInitializer.
func (l initializers) Initialize(p admission.Interface) {
	for _, i := range l {
		i.Initialize(p)
	}
}

// policies gives the policy plugins the types of objects, and keeps both kinds
// of plugin off the reviews, which must stay cheap and can't be policed.
type policies struct{ schemas resolver.SchemaResolver }

// Initialize implements admission.PluginInitializer.
func (i policies) Initialize(p admission.Interface) {
	if wants, ok := p.(initializer.WantsSchemaResolver); ok {
		wants.SetSchemaResolver(i.schemas)
	}
	if wants, ok := p.(initializer.WantsExcludedAdmissionResources); ok {
		wants.SetExcludedAdmissionResources(excluded())
	}
}

func excluded() []schema.GroupResource {
	return []schema.GroupResource{
		{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
		{Group: "authentication.k8s.io", Resource: "tokenreviews"},
		{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"},
		{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
		{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
	}
}
