package fuzz

import (
	"strings"
	"testing"

	"skiff/scheduler"
)

// FuzzSchedulerConfig reads files of the scheduler: what is refused is refused in one line, what is taken makes one.
func FuzzSchedulerConfig(f *testing.F) {
	const header = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	for _, s := range []string{
		"", "\t", "{}", "a: &a [*a]", header, header + "profiles: [{}, {}]", header + "profiles:\n- schedulerName: a\n- schedulerName: b\n  plugins: {multiPoint: {disabled: [{name: '*'}]}}",
		header + "profiles: [{plugins: {score: {enabled: [{name: ImageLocality, weight: 2147483647}], disabled: [{name: '*'}]}, preFilter: {disabled: [{name: NodePorts}]}}}]",
		header + "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}}}}]}]",
		header + "profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}}, {name: NodeAffinity, args: null}]}]",
		header + "extenders: [{urlPrefix: 'https://a', filterVerb: f, weight: 1, httpTimeout: 1s, enableHTTPS: true, managedResources: [{name: a.b/c, ignoredByScheduler: true}], tlsConfig: {caData: AAAA}}]",
		header + "leaderElection: {leaderElect: true, leaseDuration: 1s, renewDeadline: 1s, retryPeriod: -1s}\nparallelism: -1\npodMaxBackoffSeconds: 9223372036854775807",
		`{"apiVersion":"kubescheduler.config.k8s.io/v1","kind":"KubeSchedulerConfiguration","profiles":null,"extenders":[null]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := scheduler.Parse(data)
		switch {
		case err != nil && (err.Error() == "" || strings.ContainsAny(err.Error(), "\r\n")):
			t.Errorf("not one line: %q", err.Error())
		case err == nil && (len(cfg.Profiles) == 0 || cfg.Parallelism < 1 || cfg.InitialBackoff <= 0 || cfg.MaxBackoff < cfg.InitialBackoff):
			t.Errorf("taken: %+v", cfg)
		}
	})
}
