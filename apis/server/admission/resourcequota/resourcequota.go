// Package resourcequota charges what is created or changed to the resource
// quotas of its namespace, and refuses what exceeds one.
//
// The charging is k8s.io/apiserver's; what an object costs is skiff/internal/quota's.
package resourcequota

import (
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	api "k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota/validation"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	meter "skiff/internal/quota"
)

// Name is the plugin's name in upstream's configuration.
const Name = resourcequota.PluginName

// workers is how many namespaces are charged at once.
const workers = 5

// Deps is what the plugin needs.
type Deps struct {
	Informers informers.SharedInformerFactory
	Client    kubernetes.Interface
	// Devices says whether resource claims are served.
	Devices bool
	// Done ends the workers.
	Done <-chan struct{}
	// Configuration is a resourcequota.admission.k8s.io Configuration; nil limits nothing by default.
	Configuration io.Reader
}

// New builds the plugin; its workers start with the first object that is charged.
func New(d Deps) (admission.Interface, error) {
	cfg, err := read(d.Configuration)
	if err != nil {
		return nil, err
	}
	p, err := resourcequota.NewResourceQuota(cfg, workers)
	if err != nil {
		return nil, fmt.Errorf("making the quota plugin: %w", err)
	}
	all, err := evaluators(d)
	if err != nil {
		return nil, err
	}
	p.SetExternalKubeClientSet(d.Client)
	p.SetExternalKubeInformerFactory(d.Informers)
	p.SetDrainedNotification(d.Done)
	ignored := map[schema.GroupResource]struct{}{}
	for _, r := range meter.Uncounted() {
		ignored[r] = struct{}{}
	}
	p.SetQuotaConfiguration(generic.NewConfiguration(all, ignored))
	if err := p.ValidateInitialization(); err != nil {
		return nil, fmt.Errorf("initializing the quota plugin: %w", err)
	}
	return p, nil
}

func read(r io.Reader) (*api.Configuration, error) {
	cfg, err := resourcequota.LoadConfiguration(r)
	if err != nil {
		return nil, fmt.Errorf("reading the quota configuration: %w", err)
	}
	if errs := validation.ValidateConfiguration(cfg); len(errs) > 0 {
		return nil, fmt.Errorf("checking the quota configuration: %w", errs.ToAggregate())
	}
	return cfg, nil
}

// Check reports a configuration that can't be used.
func Check(r io.Reader) error {
	_, err := read(r)
	return err
}

// evaluators lists the kinds that cost more than their number; the others are only counted.
func evaluators(d Deps) ([]quota.Evaluator, error) {
	out := []quota.Evaluator{
		evaluator{Meter: meter.Pods(clock.RealClock{}), handles: pods, constraints: stated},
		evaluator{Meter: meter.Services(), handles: written},
		evaluator{Meter: meter.Claims(), handles: claims},
	}
	for _, r := range meter.Aliased() {
		alias, _ := meter.Alias(r)
		out = append(out, generic.NewObjectCountEvaluator(r, nil, alias))
	}
	if !d.Devices {
		return out, nil
	}
	core, dra := d.Informers.Core().V1(), d.Informers.Resource().V1()
	classes := extendedresourcecache.NewExtendedResourceCache(klog.Background())
	if _, err := dra.DeviceClasses().Informer().AddEventHandler(classes); err != nil {
		return nil, fmt.Errorf("watching device classes: %w", err)
	}
	devices := meter.Devices{Classes: classes, Pods: core.Pods().Lister(), Claims: dra.ResourceClaims().Lister(), Clock: clock.RealClock{}}
	return append(out, evaluator{Meter: devices.Meter(), handles: written}), nil
}
