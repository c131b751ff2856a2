package configuration_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/configuration"
)

const header = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

func known() sets.Set[string] {
	return sets.New("PrioritySort", "NodeName", "NodeAffinity", "NodeResourcesFit", "NodeResourcesBalancedAllocation", "PodTopologySpread",
		"InterPodAffinity", "DefaultPreemption", "VolumeBinding", "DynamicResources", "ImageLocality", "DefaultBinder")
}

// read decodes, completes and checks.
func read(text string) (*schedv1.KubeSchedulerConfiguration, error) {
	cfg, err := configuration.Decode([]byte(text))
	if err != nil {
		return nil, err
	}
	configuration.Default(cfg)
	return cfg, configuration.Validate(cfg, known())
}

// args gives one plugin its arguments.
func args(plugin, args string) string {
	return header + "profiles: [{pluginConfig: [{name: " + plugin + ", args: " + args + "}]}]"
}

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"empty":                   {"", "it has to begin with `apiVersion: kubescheduler.config.k8s.io/v1`"},
		"no kind":                 {"profiles: []", "it has to begin with"},
		"another kind":            {"apiVersion: v1\nkind: Pod", "it has to begin with"},
		"another version":         {"apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration", "it has to begin with"},
		"arguments as the file":   {"apiVersion: kubescheduler.config.k8s.io/v1\nkind: NodeAffinityArgs", "kind: NodeAffinityArgs: give `kind: KubeSchedulerConfiguration`"},
		"no YAML":                 {header + "\t{", "yaml"},
		"unknown field":           {header + "profile: []", `unknown field "profile"`},
		"unknown field inside":    {header + "profiles: [{plugins: {scores: {}}}]", `unknown field "profiles[0].plugins.scores"`},
		"field twice":             {header + "parallelism: 1\nparallelism: 2", `key "parallelism" already set`},
		"wrong type":              {header + "parallelism: many", "cannot unmarshal string"},
		"unknown argument":        {args("NodeResourcesFit", "{strategy: x}"), `decoding .profiles[0].pluginConfig[0]: strict decoding error: decoding args for plugin NodeResourcesFit: strict decoding error: unknown field "strategy"`},
		"another plugin's":        {args("NodeResourcesFit", "{apiVersion: kubescheduler.config.k8s.io/v1, kind: NodeAffinityArgs}"), "args for plugin NodeResourcesFit were not of type NodeResourcesFitArgs.kubescheduler.config.k8s.io"},
		"JSON":                    {`{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "parallelism": 4}`, ""},
		"arguments without kind":  {args("NodeResourcesFit", "{ignoredResources: [example.com/x]}"), ""},
		"arguments left out":      {header + "profiles: [{pluginConfig: [{name: NodeResourcesFit}]}]", ""},
		"nothing but what it is":  {header, ""},
		"a profile named nothing": {header + "profiles: [{}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.text)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %s", err, test.want)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("more than a line: %v", err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	cfg, err := read(header + `
profiles:
- pluginConfig:
  - {name: DefaultPreemption, args: {minCandidateNodesAbsolute: 5}}
  - {name: InterPodAffinity}
  - {name: VolumeBinding}
  - {name: PodTopologySpread}
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu}]}}}
  - {name: NodeResourcesBalancedAllocation}
  - {name: DynamicResources}
`)
	if err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"parallelism":     *cfg.Parallelism == 16,
		"percentage":      *cfg.PercentageOfNodesToScore == 0,
		"backoff":         *cfg.PodInitialBackoffSeconds == 1 && *cfg.PodMaxBackoffSeconds == 10,
		"name":            *cfg.Profiles[0].SchedulerName == "default-scheduler",
		"no election":     !*cfg.LeaderElection.LeaderElect,
		"lease":           cfg.LeaderElection.ResourceNamespace == "kube-system" && cfg.LeaderElection.ResourceName == "kube-scheduler",
		"lease's times":   cfg.LeaderElection.LeaseDuration.Duration == 15*time.Second && cfg.LeaderElection.RetryPeriod.Duration == 2*time.Second,
		"renewal":         cfg.LeaderElection.RenewDeadline.Duration == 10*time.Second,
		"not the profile": cfg.Profiles[0].PercentageOfNodesToScore == nil,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, cfg)
		}
	}
	given := configuration.Args(&cfg.Profiles[0])
	preemption := given["DefaultPreemption"].(*schedv1.DefaultPreemptionArgs)
	fit := given["NodeResourcesFit"].(*schedv1.NodeResourcesFitArgs).ScoringStrategy
	balanced := given["NodeResourcesBalancedAllocation"].(*schedv1.NodeResourcesBalancedAllocationArgs)
	for what, ok := range map[string]bool{
		"candidates":       *preemption.MinCandidateNodesAbsolute == 5 && *preemption.MinCandidateNodesPercentage == 10,
		"affinity":         *given["InterPodAffinity"].(*schedv1.InterPodAffinityArgs).HardPodAffinityWeight == 1,
		"bind timeout":     *given["VolumeBinding"].(*schedv1.VolumeBindingArgs).BindTimeoutSeconds == 600,
		"defaulting":       given["PodTopologySpread"].(*schedv1.PodTopologySpreadArgs).DefaultingType == schedv1.SystemDefaulting,
		"resource weights": len(fit.Resources) == 1 && fit.Resources[0].Weight == 1 && fit.Type == schedv1.MostAllocated,
		"balanced":         len(balanced.Resources) == 2 && balanced.Resources[0].Name == "cpu" && balanced.Resources[1].Weight == 1,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, given)
		}
	}
}

func TestValidate(t *testing.T) {
	two := func(a, b string) string { return header + "profiles: [{" + a + "}, {" + b + "}]" }
	one := func(profile string) string { return header + "profiles: [{" + profile + "}]" }
	for name, test := range map[string]struct{ text, want string }{
		"parallelism":           {header + "parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"},
		"percentage":            {header + "percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"},
		"profile's percentage":  {one("percentageOfNodesToScore: -1"), "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"},
		"initial backoff":       {header + "podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"},
		"maximum backoff":       {header + "podInitialBackoffSeconds: 20", "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds"},
		"lease":                 {header + "leaderElection: {leaderElect: true, leaseDuration: 5s}", "leaderElection.leaseDuration: Invalid value: \"10s\": must be greater than `RenewDeadline`"},
		"lock":                  {header + "leaderElection: {leaderElect: true, resourceLock: endpoints}", `leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"`},
		"two without a name":    {two("", "schedulerName: a"), "profiles[0].schedulerName: Required value"},
		"the same name":         {two("schedulerName: a", "schedulerName: a"), `profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"`},
		"queue sort":            {two("schedulerName: a", "schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}"), "profiles[1].plugins.queueSort: Invalid value:"},
		"unknown plugin":        {one("plugins: {score: {enabled: [{name: Coscheduling}]}}"), `profiles[0].plugins.score.enabled[0]: Unsupported value: "Coscheduling": supported values: "DefaultBinder"`},
		"unknown at multiPoint": {one("plugins: {multiPoint: {enabled: [{name: X}]}}"), `profiles[0].plugins.multiPoint.enabled[0]: Unsupported value: "X"`},
		"unknown, disabled":     {one("plugins: {multiPoint: {disabled: [{name: X}]}}"), ""},
		"unknown, configured":   {one("pluginConfig: [{name: X}]"), `profiles[0].pluginConfig[0].name: Unsupported value: "X"`},
		"configured twice":      {one("pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]"), `profiles[0].pluginConfig[1]: Duplicate value: "NodeAffinity"`},
		"without arguments":     {one("pluginConfig: [{name: ImageLocality, args: {a: 1}}]"), "profiles[0].pluginConfig[0].args: Forbidden: plugin ImageLocality takes no arguments, leave them out"},
		"groups of pods":        {one("plugins: {placementScore: {enabled: [{name: X}]}}"), "profiles[0].plugins.placementScore: Forbidden: skiff schedules no groups of pods, leave it out"},
		"client":                {header + "clientConnection: {kubeconfig: /x}", "clientConnection: Forbidden: skiff's scheduler calls the API in its own process, leave it out"},
		"profiling":             {header + "enableProfiling: false", "enableProfiling: Forbidden"},
		"contention":            {header + "enableContentionProfiling: true", "enableContentionProfiling: Forbidden"},
		"delayed cache":         {header + "delayCacheUntilActive: true", "delayCacheUntilActive: Forbidden"},

		"candidates":         {args("DefaultPreemption", "{minCandidateNodesPercentage: 101}"), "profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]"},
		"no candidates":      {args("DefaultPreemption", "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}"), "cannot be zero at the same time as minCandidateNodesAbsolute"},
		"hard affinity":      {args("InterPodAffinity", "{hardPodAffinityWeight: 101}"), "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"},
		"added affinity":     {args("NodeAffinity", "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Is}]}]}}}"), "args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]"},
		"added preference":   {args("NodeAffinity", "{addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Is}]}}]}}"), "args.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]"},
		"balanced weight":    {args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}"), "args.resources[0].weight: Invalid value: 2: must be 1"},
		"balanced twice":     {args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu}, {name: cpu}]}"), `args.resources[1].name: Duplicate value: "cpu"`},
		"strategy":           {args("NodeResourcesFit", "{scoringStrategy: {type: Best}}"), `args.scoringStrategy.type: Unsupported value: "Best"`},
		"strategy's weight":  {args("NodeResourcesFit", "{scoringStrategy: {type: LeastAllocated, resources: [{name: cpu, weight: 101}]}}"), "resource weight of cpu not in valid range (0, 100]"},
		"no ratio":           {args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio}}"), "args.scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio"},
		"unasked ratio":      {args("NodeResourcesFit", "{scoringStrategy: {type: LeastAllocated, requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}]}}}"), "must be nil when type is not RequestedToCapacityRatio"},
		"no shape":           {args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {}}}"), "at least one point must be specified"},
		"unsorted shape":     {args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 9, score: 0}, {utilization: 9, score: 1}]}}}"), "shape[1].utilization: Invalid value: 9: values must be sorted in increasing order"},
		"score of a shape":   {args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 9, score: 11}]}}}"), "shape[0].score: Invalid value: 11: not in valid range [0, 10]"},
		"ignored resource":   {args("NodeResourcesFit", "{ignoredResources: ['a b']}"), `args.ignoredResources[0]: Invalid value: "a b"`},
		"ignored group":      {args("NodeResourcesFit", "{ignoredResourceGroups: [a/b]}"), `args.ignoredResourceGroups[0]: Invalid value: "a/b": resource group name can't contain '/'`},
		"system constraints": {args("PodTopologySpread", "{defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}"), `args.defaultingType: Invalid value: "System": when .defaultConstraints are not empty`},
		"constraint":         {args("PodTopologySpread", "{defaultingType: List, defaultConstraints: [{whenUnsatisfiable: Never, labelSelector: {}}]}"), "args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)"},
		"constraint twice":   {args("PodTopologySpread", "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}"), `args.defaultConstraints[1]: Duplicate value: "{a, DoNotSchedule}"`},
		"bind timeout":       {args("VolumeBinding", "{bindTimeoutSeconds: -1}"), "invalid BindTimeoutSeconds, should not be a negative value"},
		"storage":            {args("VolumeBinding", "{shape: [{utilization: 0, score: 1}]}"), "args.shape: Forbidden: skiff doesn't score nodes by the capacity of their storage, leave it out"},
		"devices":            {args("DynamicResources", "{bindingTimeout: 1ms}"), `args.bindingTimeout: Invalid value: "1ms": must be at least 1 second`},

		"extender":           {header + "extenders: [{urlPrefix: 'https://localhost:1/x', filterVerb: filter, managedResources: [{name: example.com/x}]}]", ""},
		"extender's URL":     {header + "extenders: [{urlPrefix: 'localhost:1'}]", `extenders[0].urlPrefix: Invalid value: "localhost:1"`},
		"extender's weight":  {header + "extenders: [{urlPrefix: 'http://a', prioritizeVerb: p}]", "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"},
		"two binders":        {header + "extenders: [{urlPrefix: 'http://a', bindVerb: b}, {urlPrefix: 'http://b', bindVerb: b}]", "only one extender can implement bind"},
		"managed natively":   {header + "extenders: [{urlPrefix: 'http://a', managedResources: [{name: cpu}]}]", `extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name`},
		"managed twice":      {header + "extenders: [{urlPrefix: 'http://a', managedResources: [{name: a.b/c}]}, {urlPrefix: 'http://b', managedResources: [{name: a.b/c}]}]", "extenders[1].managedResources[0].name: Invalid value: \"a.b/c\": duplicate extender managed resource name"},
		"a negative timeout": {header + "extenders: [{urlPrefix: 'http://a', httpTimeout: -1s}]", `extenders[0].httpTimeout: Invalid value: "-1s"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.text)
			if (test.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %v", err)
			}
		})
	}
}
