package configuration

import (
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	componentbase "k8s.io/component-base/config/v1alpha1"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// Validate says all that is wrong with a configuration that Default has completed: by upstream's rules, and by what
// skiff's scheduler can do. The names are of the plugins there are.
func Validate(cfg *schedv1.KubeSchedulerConfiguration, plugins sets.Set[string]) error {
	errs := validateLease(&cfg.LeaderElection, field.NewPath("leaderElection"))
	if *cfg.Parallelism <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("parallelism"), *cfg.Parallelism, "should be an integer value greater than zero"))
	}
	errs = append(errs, validateProfiles(cfg.Profiles, plugins, field.NewPath("profiles"))...)
	errs = append(errs, validatePercentage(cfg.PercentageOfNodesToScore, field.NewPath("percentageOfNodesToScore"))...)
	if *cfg.PodInitialBackoffSeconds <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("podInitialBackoffSeconds"), *cfg.PodInitialBackoffSeconds, "must be greater than 0"))
	}
	if *cfg.PodMaxBackoffSeconds < *cfg.PodInitialBackoffSeconds {
		errs = append(errs, field.Invalid(field.NewPath("podMaxBackoffSeconds"), *cfg.PodMaxBackoffSeconds, "must be greater than or equal to PodInitialBackoffSeconds"))
	}
	errs = append(errs, validateExtenders(cfg.Extenders, field.NewPath("extenders"))...)
	errs = append(errs, elsewhere(cfg)...)
	return errs.ToAggregate()
}

// elsewhere forbids what is not the scheduler's to say in skiff.
func elsewhere(cfg *schedv1.KubeSchedulerConfiguration) field.ErrorList {
	var errs field.ErrorList
	if cfg.ClientConnection != (componentbase.ClientConnectionConfiguration{}) {
		errs = append(errs, field.Forbidden(field.NewPath("clientConnection"), "skiff's scheduler calls the API in its own process, leave it out"))
	}
	if cfg.EnableProfiling != nil || cfg.EnableContentionProfiling != nil {
		path := field.NewPath("enableProfiling")
		if cfg.EnableProfiling == nil {
			path = field.NewPath("enableContentionProfiling")
		}
		errs = append(errs, field.Forbidden(path, "profiling is a flag of the whole server, leave it out"))
	}
	if cfg.DelayCacheUntilActive {
		errs = append(errs, field.Forbidden(field.NewPath("delayCacheUntilActive"), "the whole server shares one cache, leave it out"))
	}
	return errs
}

func validateLease(cfg *componentbase.LeaderElectionConfiguration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !*cfg.LeaderElect {
		return nil
	}
	for _, d := range []struct {
		name string
		ok   bool
		is   any
	}{
		{"leaseDuration", cfg.LeaseDuration.Duration > 0, cfg.LeaseDuration},
		{"renewDeadline", cfg.RenewDeadline.Duration > 0, cfg.RenewDeadline},
		{"retryPeriod", cfg.RetryPeriod.Duration > 0, cfg.RetryPeriod},
	} {
		if !d.ok {
			errs = append(errs, field.Invalid(path.Child(d.name), d.is, "must be greater than zero"))
		}
	}
	if cfg.LeaseDuration.Duration <= cfg.RenewDeadline.Duration {
		errs = append(errs, field.Invalid(path.Child("leaseDuration"), cfg.RenewDeadline, "must be greater than `RenewDeadline`"))
	}
	// The elector waits up to 1.2 retry periods between two tries.
	if float64(cfg.RenewDeadline.Duration) <= 1.2*float64(cfg.RetryPeriod.Duration) {
		errs = append(errs, field.Invalid(path.Child("renewDeadline"), cfg.RenewDeadline, "must be greater than retryPeriod*JitterFactor"))
	}
	if cfg.ResourceLock != "leases" {
		errs = append(errs, field.Invalid(path.Child("resourceLock"), cfg.ResourceLock, `resourceLock value must be "leases"`))
	}
	return errs
}

func validatePercentage(percentage *int32, path *field.Path) field.ErrorList {
	if percentage != nil && (*percentage < 0 || *percentage > 100) {
		return field.ErrorList{field.Invalid(path, *percentage, "not in valid range [0-100]")}
	}
	return nil
}

func validateProfiles(profiles []schedv1.KubeSchedulerProfile, plugins sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]int{}
	for i := range profiles {
		p, at := &profiles[i], path.Index(i)
		if name(p) == "" {
			errs = append(errs, field.Required(at.Child("schedulerName"), "give each profile a name of its own"))
		}
		if first, ok := seen[name(p)]; ok {
			errs = append(errs, field.Duplicate(at.Child("schedulerName"), path.Index(first).Child("schedulerName").String()))
		}
		seen[name(p)] = i
		errs = append(errs, validatePercentage(p.PercentageOfNodesToScore, at.Child("percentageOfNodesToScore"))...)
		errs = append(errs, validatePlugins(p.Plugins, plugins, at.Child("plugins"))...)
		errs = append(errs, validatePluginConfig(p.PluginConfig, plugins, at.Child("pluginConfig"))...)
	}
	return append(errs, validateQueueSort(profiles, path)...)
}

func validatePlugins(p *schedv1.Plugins, plugins sets.Set[string], path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	named := pluginSets(p)
	named["multiPoint"] = &p.MultiPoint
	for _, at := range append(pointNames(), "multiPoint") {
		for i, e := range named[at].Enabled {
			if !plugins.Has(e.Name) {
				errs = append(errs, noPlugin(path.Child(at, "enabled").Index(i), e.Name, plugins))
			}
		}
	}
	for at, set := range map[string]*schedv1.PluginSet{
		"placementGenerate": &p.PlacementGenerate, "placementScore": &p.PlacementScore, "podGroupPostFilter": &p.PodGroupPostFilter,
	} {
		if len(set.Enabled) > 0 {
			errs = append(errs, field.Forbidden(path.Child(at), "skiff schedules no groups of pods, leave it out"))
		}
	}
	return errs
}

func noPlugin(path *field.Path, name string, plugins sets.Set[string]) *field.Error {
	return field.NotSupported(path, name, sets.List(plugins))
}

func validatePluginConfig(configs []schedv1.PluginConfig, plugins sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, c := range configs {
		at := path.Index(i)
		switch {
		case seen.Has(c.Name):
			errs = append(errs, field.Duplicate(at, c.Name))
		case !plugins.Has(c.Name):
			errs = append(errs, noPlugin(at.Child("name"), c.Name, plugins))
		case c.Args.Object == nil:
			errs = append(errs, field.Forbidden(at.Child("args"), fmt.Sprintf("plugin %s takes no arguments, leave them out", c.Name)))
		default:
			errs = append(errs, validateArgs(c.Args.Object, at.Child("args"))...)
		}
		seen.Insert(c.Name)
	}
	return errs
}

// validateQueueSort: all profiles share a queue, which has one order.
func validateQueueSort(profiles []schedv1.KubeSchedulerProfile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	canon := queueSort(&profiles[0])
	if n := len(canon.Enabled); n > 1 {
		errs = append(errs, field.Invalid(path.Index(0).Child("plugins", "queueSort", "Enabled"), n, "only one queue sort plugin can be enabled"))
	}
	for i := range profiles[1:] {
		if own := queueSort(&profiles[i+1]); !apiequality.Semantic.DeepEqual(canon, own) {
			errs = append(errs, field.Invalid(path.Index(i+1).Child("plugins", "queueSort"), own, "must be the same for all profiles"))
		}
	}
	return errs
}

func queueSort(p *schedv1.KubeSchedulerProfile) schedv1.PluginSet {
	if p.Plugins == nil {
		return schedv1.PluginSet{}
	}
	return p.Plugins.QueueSort
}

func validateExtenders(extenders []schedv1.Extender, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	binders, managed := 0, sets.New[string]()
	for i := range extenders {
		e, at := &extenders[i], path.Index(i)
		if u, err := url.Parse(e.URLPrefix); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			errs = append(errs, field.Invalid(at.Child("urlPrefix"), e.URLPrefix, "give a URL such as http://127.0.0.1:8888/scheduler"))
		}
		if e.PrioritizeVerb != "" && e.Weight <= 0 {
			errs = append(errs, field.Invalid(at.Child("weight"), e.Weight, "must have a positive weight applied to it"))
		}
		if e.HTTPTimeout.Duration < 0 {
			errs = append(errs, field.Invalid(at.Child("httpTimeout"), e.HTTPTimeout.Duration.String(), "must not be negative"))
		}
		if e.BindVerb != "" {
			binders++
		}
		for j, r := range e.ManagedResources {
			name := at.Child("managedResources").Index(j).Child("name")
			errs = append(errs, validateExtendedResource(r.Name, name)...)
			if managed.Has(r.Name) {
				errs = append(errs, field.Invalid(name, r.Name, "duplicate extender managed resource name"))
			}
			managed.Insert(r.Name)
		}
	}
	if binders > 1 {
		errs = append(errs, field.Invalid(path, fmt.Sprintf("found %d extenders implementing bind", binders), "only one extender can implement bind"))
	}
	return errs
}

func validateExtendedResource(name string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	if len(errs) == 0 && !framework.IsExtendedResource(corev1.ResourceName(name)) {
		errs = append(errs, field.Invalid(path, name, "is an invalid extended resource name"))
	}
	return errs
}

// Args answers a profile's arguments by plugin.
func Args(p *schedv1.KubeSchedulerProfile) map[string]runtime.Object {
	args := map[string]runtime.Object{}
	for i := range p.PluginConfig {
		args[p.PluginConfig[i].Name] = p.PluginConfig[i].Args.Object
	}
	return args
}
