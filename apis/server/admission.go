package server

import (
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/server/admission/certificates"
	"skiff/apis/server/admission/ingressclass"
	"skiff/apis/server/admission/limitranger"
	"skiff/apis/server/admission/noderestriction"
	"skiff/apis/server/admission/nodetaint"
	"skiff/apis/server/admission/podresize"
	"skiff/apis/server/admission/podsecurity"
	"skiff/apis/server/admission/priority"
	"skiff/apis/server/admission/resourcequota"
	"skiff/apis/server/admission/runtimeclass"
	"skiff/apis/server/admission/serviceaccount"
	"skiff/apis/server/admission/storageclass"
	"skiff/apis/server/admission/storageprotection"
	"skiff/apis/server/admission/tolerationseconds"
	"skiff/apis/server/admission/topologylabels"
	"skiff/apis/server/admission/volumeresize"
)

// plugin is one member of the chain.
type plugin struct {
	// name is what configuration and metrics call it.
	name string
	// group must be served for the plugin to have anything to do; "" always is.
	group string
	build func(*assembly) (admission.Interface, error)
}

// plugins lists the chain in upstream's order: what fills in objects first,
// then policies and webhooks, and quotas last, which charge what is left.
func plugins() []plugin {
	return []plugin{
		{lifecycle.PluginName, "", namespaces},
		{limitranger.Name, "", of(limitranger.New)},
		{serviceaccount.Name, "", func(a *assembly) (admission.Interface, error) {
			return serviceaccount.New(a.informers, a.client, names.SimpleNameGenerator.GenerateName), nil
		}},
		{noderestriction.Name, "", func(a *assembly) (admission.Interface, error) {
			return noderestriction.New(a.informers, a.client, a.server.config.Access.Authorizer), nil
		}},
		{nodetaint.Name, "", func(*assembly) (admission.Interface, error) { return nodetaint.New(), nil }},
		{podsecurity.Name, "", func(a *assembly) (admission.Interface, error) {
			return podsecurity.New(a.informers, a.client, a.config)
		}},
		{priority.Name, "scheduling.k8s.io", with(priority.New)},
		{tolerationseconds.Name, "", func(*assembly) (admission.Interface, error) { return tolerationseconds.New(), nil }},
		{storageclass.Name, "storage.k8s.io", of(storageclass.New)},
		{storageprotection.Name, "", func(*assembly) (admission.Interface, error) { return storageprotection.New(), nil }},
		{volumeresize.Name, "storage.k8s.io", of(volumeresize.New)},
		{runtimeclass.Name, "node.k8s.io", with(runtimeclass.New)},
		{certificates.ApprovalName, "certificates.k8s.io", func(a *assembly) (admission.Interface, error) {
			return certificates.Approval(a.server.config.Access.Authorizer), nil
		}},
		{certificates.SigningName, "certificates.k8s.io", func(a *assembly) (admission.Interface, error) {
			return certificates.Signing(a.server.config.Access.Authorizer), nil
		}},
		{certificates.BundleName, "certificates.k8s.io", func(a *assembly) (admission.Interface, error) {
			return certificates.Attest(a.server.config.Access.Authorizer), nil
		}},
		{certificates.SubjectName, "certificates.k8s.io", func(*assembly) (admission.Interface, error) { return certificates.Subject(), nil }},
		{ingressclass.Name, "networking.k8s.io", of(ingressclass.New)},
		{topologylabels.Name, "", of(topologylabels.New)},
		{podresize.Name, "", of(podresize.New)},
		{mutatingpolicy.PluginName, policyGroup, func(a *assembly) (admission.Interface, error) {
			return initialized(a)(mutatingpolicy.NewPlugin(a.config))
		}},
		{mutatingwebhook.PluginName, policyGroup, func(a *assembly) (admission.Interface, error) {
			return initialized(a)(mutatingwebhook.NewMutatingWebhook(a.config))
		}},
		{validatingpolicy.PluginName, policyGroup, func(a *assembly) (admission.Interface, error) {
			return initialized(a)(validatingpolicy.NewPlugin(a.config))
		}},
		{validatingwebhook.PluginName, policyGroup, func(a *assembly) (admission.Interface, error) {
			return initialized(a)(validatingwebhook.NewValidatingAdmissionWebhook(a.config))
		}},
		{resourcequota.Name, "", quotas},
	}
}

// policyGroup is where policies and webhooks are declared.
const policyGroup = "admissionregistration.k8s.io"

// assembly is what plugins are built from.
type assembly struct {
	server     *Server
	informers  informers.SharedInformerFactory
	client     kubernetes.Interface
	initialize admission.PluginInitializer
	// name is the plugin's that is being built.
	name string
	// config is the plugin's part of the admission configuration file; nil if it has none.
	config io.Reader
}

// addAdmission builds the chain of the enabled plugins. A plugin whose group
// isn't served is left out.
func (s *Server) addAdmission(cfg *genericserver.Config) error {
	client, err := kubernetes.NewForConfig(cfg.LoopbackClientConfig)
	if err != nil {
		return fmt.Errorf("making the admission client: %w", err)
	}
	files, err := readAdmission(s.config.Admission.ConfigFile)
	if err != nil {
		return err
	}
	a := &assembly{server: s, informers: s.config.Informers, client: client}
	if serves(s.resources, policyGroup) {
		if a.initialize, err = s.initializer(cfg, client); err != nil {
			return err
		}
	}
	var chain []admission.Interface
	for _, p := range plugins() {
		if !s.config.Admission.Enabled(p.name) || (p.group != "" && !serves(s.resources, p.group)) {
			continue
		}
		a.name = p.name
		if a.config, err = files.ConfigFor(p.name); err != nil {
			return fmt.Errorf("reading the configuration of %s: %w", p.name, err)
		}
		handler, err := p.build(a)
		if err != nil {
			return fmt.Errorf("making the admission plugin %s: %w", p.name, err)
		}
		chain = append(chain, admissionmetrics.WithControllerMetrics(handler, p.name))
	}
	cfg.AdmissionControl = admissionmetrics.WithStepMetrics(admission.NewChainHandler(chain...))
	return nil
}

// of builds a plugin that needs informers only.
func of[P admission.Interface](build func(informers.SharedInformerFactory) P) func(*assembly) (admission.Interface, error) {
	return func(a *assembly) (admission.Interface, error) { return build(a.informers), nil }
}

// with builds a plugin that needs informers and a client.
func with[P admission.Interface](build func(informers.SharedInformerFactory, kubernetes.Interface) P) func(*assembly) (admission.Interface, error) {
	return func(a *assembly) (admission.Interface, error) { return build(a.informers, a.client), nil }
}

func namespaces(a *assembly) (admission.Interface, error) {
	p, err := lifecycle.NewLifecycle(sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic))
	if err != nil {
		return nil, err
	}
	p.SetExternalKubeInformerFactory(a.informers)
	p.SetExternalKubeClientSet(a.client)
	return p, nil
}

func quotas(a *assembly) (admission.Interface, error) {
	return resourcequota.New(resourcequota.Deps{
		Informers: a.informers, Client: a.client, Devices: serves(a.server.resources, "resource.k8s.io"),
		Done: a.server.drained, Configuration: a.config,
	})
}
