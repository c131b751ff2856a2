package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	webhookconfig "k8s.io/apiserver/pkg/admission/plugin/webhook/config"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	genericserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/restmapper"

	"skiff/apis/openapi"
	"skiff/apis/server/admission/podsecurity"
	"skiff/apis/server/admission/resourcequota"
	"skiff/apis/server/typecheck"
	"skiff/config"
)

// mapperRefresh is how often policies learn of new kinds without a miss.
const mapperRefresh = 30 * time.Second

// initializer hands the generic plugins what they ask for.
func (s *Server) initializer(cfg *genericserver.Config, client kubernetes.Interface) (admission.PluginInitializer, error) {
	dynamicClient, err := dynamic.NewForConfig(cfg.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("making the policy parameter client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	schemas := resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, clientscheme.Scheme).
		Combine(&resolver.ClientDiscoveryResolver{Discovery: client.Discovery()})
	check, err := s.policyChecker(&validatingpolicy.TypeChecker{SchemaResolver: schemas, RestMapper: mapper})
	if err != nil {
		return nil, err
	}
	err = cfg.AddPostStartHook("start-apiserver-admission-initializer", func(h genericserver.PostStartHookContext) error {
		s.background.Go(func() { wait.Until(mapper.Reset, mapperRefresh, h.Done()) })
		s.background.Go(func() { check(h) })
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scheduling the discovery refresh: %w", err)
	}
	auth := webhook.NewDefaultAuthenticationInfoResolverWrapper(s.config.ProxyTransport, nil, cfg.LoopbackClientConfig, cfg.TracerProvider)
	return initializers{
		initializer.New(client, dynamicClient, s.config.Informers, s.config.Access.Authorizer, utilfeature.DefaultFeatureGate, cfg.EffectiveVersion, s.drained, mapper),
		webhookinit.NewPluginInitializer(auth, s.services),
		initializer.NewAPIServerIDInitializer(cfg.APIServerID),
		policies{schemas},
	}, nil
}

// policyChecker answers what checks the expressions of policies until ctx ends, if that is wanted.
func (s *Server) policyChecker(types *validatingpolicy.TypeChecker) (func(context.Context), error) {
	if !s.config.CheckPolicies {
		return func(context.Context) {}, nil
	}
	client, err := kubernetes.NewForConfig(s.config.Loopback.Config(serviceaccount.MakeUsername(metav1.NamespaceSystem, typecheck.Account),
		append(serviceaccount.MakeGroupNames(metav1.NamespaceSystem), user.AllAuthenticated)...))
	if err != nil {
		return nil, fmt.Errorf("making the client that writes the status of policies: %w", err)
	}
	checker, err := typecheck.New(s.config.Informers.Admissionregistration().V1().ValidatingAdmissionPolicies(), client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), types.Check)
	if err != nil {
		return nil, fmt.Errorf("making the type checker of policies: %w", err)
	}
	return checker.Run, nil
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

// dynamicPlugin is a member of the chain that objects configure.
type dynamicPlugin struct {
	name    string
	handler admission.Interface
}

// initialized hands a policy or webhook plugin what it asks for. It is started
// by startPolicies.
func initialized(a *assembly) func(admission.Interface, error) (admission.Interface, error) {
	return func(p admission.Interface, err error) (admission.Interface, error) {
		if err != nil {
			return nil, err
		}
		a.initialize.Initialize(p)
		a.server.dynamic = append(a.server.dynamic, dynamicPlugin{a.name, p})
		return p, nil
	}
}

// startPolicies starts what follows policies and webhooks. Policies ask for the
// OpenAPI documents at once, so requests must be answered by now.
func (s *Server) startPolicies() error {
	for _, p := range s.dynamic {
		if err := admission.ValidateInitialization(p.handler); err != nil {
			return fmt.Errorf("initializing %s: %w", p.name, err)
		}
	}
	return nil
}

// readAdmission reads an AdmissionConfiguration; without a file every plugin
// has its defaults.
func readAdmission(file string) (admission.ConfigProvider, error) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	files, err := admission.ReadAdmissionConfiguration(nil, file, scheme)
	if err != nil {
		return nil, unusable(admissionFile, file, err, admissionRemedy)
	}
	return files, nil
}

const (
	admissionFile   = "admission-control-config-file"
	admissionRemedy = "give an apiserver.config.k8s.io/v1 AdmissionConfiguration with the configuration of each plugin"
)

// CheckAdmission reports an admission configuration that can't be used, as a
// *config.Error.
func CheckAdmission(a config.Admission) error {
	files, err := readAdmission(a.ConfigFile)
	if err != nil {
		return err
	}
	loaders := map[string]func(io.Reader) error{
		podsecurity.Name: podsecurity.Check, resourcequota.Name: resourcequota.Check,
		mutatingwebhook.PluginName: checkWebhooks, validatingwebhook.PluginName: checkWebhooks,
	}
	for _, name := range append(config.AdmissionPlugins(), elsewhere[:]...) {
		c, err := files.ConfigFor(name)
		if err != nil {
			return unusable(admissionFile, a.ConfigFile, fmt.Errorf("%s: %w", name, err), admissionRemedy)
		}
		if c == nil {
			continue
		}
		loader, ok := loaders[name]
		if !ok {
			return unusable(admissionFile, a.ConfigFile, fmt.Errorf("there is no plugin %s that is configured by a file", name), "leave it out")
		}
		if err := loader(c); err != nil {
			return unusable(admissionFile, a.ConfigFile, fmt.Errorf("%s: %w", name, err), admissionRemedy)
		}
	}
	return nil
}

// elsewhere are upstream's plugins that would have a configuration and aren't here.
var elsewhere = [...]string{"EventRateLimit", "ImagePolicyWebhook", "PodNodeSelector", "PodTolerationRestriction"}

// checkWebhooks refuses what would only be found missing at the start.
func checkWebhooks(r io.Reader) error {
	c, err := webhookconfig.LoadConfig(r)
	if err == nil && c.StaticManifestsDir != "" {
		return errors.New("staticManifestsDir is not supported; create the webhook configurations in the API")
	}
	return err
}
