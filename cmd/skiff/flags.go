package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"skiff/config"
)

// settings binds a configuration to flags, and the flags to the keys of the
// configuration file.
type settings struct {
	config.Config
	file string
}

// bind adds one flag for each field of the configuration.
func (s *settings) bind(f *pflag.FlagSet) {
	s.Config = config.Default()
	f.SortFlags = false
	f.StringVar(&s.file, "config", config.DefaultFile, "YAML file whose keys are these flags; flags given here win")
	f.StringVar(&s.DataDir, "data-dir", s.DataDir, "directory for everything that must survive a restart")
	f.StringVar(&s.Kubeconfig, "kubeconfig", s.Kubeconfig, "where to write the administrator's kubeconfig; empty writes none")
	f.BoolVar(&s.MergeKubeconfig, "merge-kubeconfig", s.MergeKubeconfig, "also add it to ~/.kube/config as the current context")
	f.StringVar(&s.BindAddress, "bind-address", s.BindAddress, "address the API listens on")
	f.IntVar(&s.Port, "port", s.Port, "port the API listens on; 0 takes any free one")
	f.StringVar(&s.AdvertiseAddress, "advertise-address", s.AdvertiseAddress, "address clients and pods reach the API at (default the node's)")
	f.StringSliceVar(&s.TLSSANs, "tls-san", s.TLSSANs, "further names and addresses for the serving certificate")
	f.StringVar(&s.NodeName, "node-name", s.NodeName, "name of this host's node (default the host name)")
	f.StringVar(&s.NodeIP, "node-ip", s.NodeIP, "address of this host's node (default found on the host)")
	f.StringSliceVar(&s.NodeLabels, "node-labels", s.NodeLabels, "labels of this host's node, as KEY=VALUE")
	f.IntVar(&s.KubeletPort, "kubelet-port", s.KubeletPort, "port of the kubelet's endpoint; 0 takes any free one")
	f.BoolVar(&s.NoNode, "no-node", s.NoNode, "run the control plane alone; needs no root")
	f.BoolVar(&s.APIOnly, "api-only", s.APIOnly, "run the API alone: no node, no scheduler, no controllers, as tests of controllers want it")
	f.IntVar(&s.SimulatedNodes, "simulated-nodes", s.SimulatedNodes, "add this many hollow nodes whose pods run instantly")
	f.StringVar(&s.ClusterCIDR, "cluster-cidr", s.ClusterCIDR, "range of pod addresses")
	f.StringVar(&s.ServiceCIDR, "service-cidr", s.ServiceCIDR, "range of Service addresses; with an IPv6 range behind a comma, of both families")
	f.StringVar(&s.NodePorts, "service-node-port-range", s.NodePorts, "ports of NodePort Services, both ends included")
	f.StringVar(&s.ClusterDNS, "cluster-dns", s.ClusterDNS, "address of the cluster DNS (default the tenth Service address)")
	f.StringVar(&s.ClusterDomain, "cluster-domain", s.ClusterDomain, "DNS domain of the cluster")
	f.StringVar(&s.CNI, "cni", s.CNI, `pod network: "bridge", or "none" to install an add-on`)
	f.StringVar(&s.NodeNetwork, "node-network", s.NodeNetwork, `way between pods of different nodes: "host-gw" on one L2 segment, "vxlan" across routers`)
	f.StringSliceVar(&s.EtcdServers, "etcd-servers", s.EtcdServers, "URLs of an external etcd; none runs one inside")
	f.StringVar(&s.EtcdCAFile, "etcd-cafile", s.EtcdCAFile, "certificate authority of the external etcd")
	f.StringVar(&s.EtcdCert, "etcd-certfile", s.EtcdCert, "client certificate for the external etcd")
	f.StringVar(&s.EtcdKey, "etcd-keyfile", s.EtcdKey, "key of that certificate")
	s.bindAuthentication(f)
	s.bindAuthorization(f)
	s.bindProtection(f)
	s.bindAudit(f)
	s.bindAutoscaling(f)
	s.bindIngress(f)
	f.StringVar(&s.Scheduling.ConfigFile, "scheduler-config", s.Scheduling.ConfigFile, "KubeSchedulerConfiguration file with the scheduler's profiles, plugins and extenders")
	f.IntVarP(&s.Verbosity, "v", "v", s.Verbosity, "verbosity of the log")
}

func (s *settings) bindAutoscaling(f *pflag.FlagSet) {
	a := &s.Autoscaling
	f.DurationVar(&a.Period, "horizontal-pod-autoscaler-sync-period", a.Period, "time between two looks at a HorizontalPodAutoscaler's metrics")
	f.DurationVar(&a.Stabilization, "horizontal-pod-autoscaler-downscale-stabilization", a.Stabilization, "how long an autoscaler keeps to its highest recommendation before it removes pods")
	f.Float64Var(&a.Tolerance, "horizontal-pod-autoscaler-tolerance", a.Tolerance, "share of its target by which a metric may be off it without any change")
	f.DurationVar(&a.CPUInitialization, "horizontal-pod-autoscaler-cpu-initialization-period", a.CPUInitialization, "how long after a pod's start its CPU usage counts only while it is ready")
	f.DurationVar(&a.InitialReadiness, "horizontal-pod-autoscaler-initial-readiness-delay", a.InitialReadiness, "how long after a pod's start becoming unready means that it never was ready")
}

func (s *settings) bindIngress(f *pflag.FlagSet) {
	in := &s.Ingress
	f.BoolVar(&in.Enabled, "ingress", in.Enabled, `serve Ingresses of class "skiff" on this node`)
	f.IntVar(&in.HTTPPort, "ingress-http-port", in.HTTPPort, "port of Ingresses for HTTP; 0 is none; one that is given must be free, the default is left to others that have it")
	f.IntVar(&in.HTTPSPort, "ingress-https-port", in.HTTPSPort, "port of Ingresses for HTTP over TLS; the same holds")
	f.StringVar(&in.BodyLimit, "ingress-body-limit", in.BodyLimit, "longest body of a request to an Ingress that does not say so itself, as 8Mi; 0 is without limit")
	f.BoolVar(&in.AccessLog, "ingress-access-log", in.AccessLog, "write a line to the log for each request to an Ingress")
	f.BoolVar(&s.LoadBalancer, "load-balancer", s.LoadBalancer, "give Services of type LoadBalancer that name no class the addresses of this node")
}

// flagValues are the flags that would make the configuration.
func flagValues(c *config.Config) map[string]string {
	var s settings
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.bind(f)
	s.Config = *c
	out := map[string]string{}
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "config" {
			out[flag.Name] = flag.Value.String()
		}
	})
	return out
}

// load completes the flags with the configuration file and checks the result.
// A file named by --config must exist; the default one may be missing.
func (s *settings) load(f *pflag.FlagSet) error {
	raw, err := os.ReadFile(s.file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.Changed("config"):
	case err != nil:
		return fmt.Errorf("configuration file: %w: give a readable file with --config", err)
	default:
		if err := merge(f, s.file, raw); err != nil {
			return err
		}
	}
	s.NoNode = s.NoNode || s.APIOnly
	s.Ingress.ChosenHTTP, s.Ingress.ChosenHTTPS = f.Changed("ingress-http-port"), f.Changed("ingress-https-port")
	return s.Validate()
}

// merge sets the flags that the command line left alone from a YAML document.
func merge(f *pflag.FlagSet, file string, raw []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("configuration file %s: %s: mend the YAML", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("configuration file %s:%d: not a mapping: write one `key: value` a line", file, root.Line)
	}
	seen := map[string]bool{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("configuration file %s:%d", file, key.Line)
		flag := f.Lookup(key.Value)
		if flag == nil || key.Value == "config" || key.Value == "help" {
			return fmt.Errorf("%s: unknown key %q%s", at, key.Value, suggestion(f, key.Value))
		}
		if seen[key.Value] {
			return fmt.Errorf("%s: key %q is given twice: remove one", at, key.Value)
		}
		seen[key.Value] = true
		if flag.Changed {
			continue
		}
		if err := setFrom(flag, value); err != nil {
			return fmt.Errorf("%s: %s: %w", at, key.Value, err)
		}
		flag.Changed = true
	}
	return nil
}

// setFrom gives a flag the value of its key. A list is set whole, so that its
// items may hold commas.
func setFrom(flag *pflag.Flag, n *yaml.Node) error {
	items, err := scalars(n)
	if err != nil {
		return err
	}
	if list, ok := flag.Value.(pflag.SliceValue); ok && n.Kind == yaml.SequenceNode {
		return list.Replace(items)
	}
	text := strings.Join(items, ",")
	if err := flag.Value.Set(text); err != nil {
		return fmt.Errorf("%q is not a %s: %s", text, flag.Value.Type(), flag.Usage)
	}
	return nil
}

// scalars are the plain values that a key has: one, or those of a list.
func scalars(n *yaml.Node) ([]string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil, nil
		}
		return []string{n.Value}, nil
	case yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("a list may hold plain values only")
			}
			items = append(items, item.Value)
		}
		return items, nil
	default:
		return nil, errors.New("must be a plain value or a list of them")
	}
}

// suggestion names the flag nearest to a mistyped key.
func suggestion(f *pflag.FlagSet, key string) string {
	best, distance := "", 4
	f.VisitAll(func(flag *pflag.Flag) {
		if d := edits(key, flag.Name); d < distance {
			best, distance = flag.Name, d
		}
	})
	if best == "" {
		return ": `skiff server --help` lists the keys"
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// edits is the Levenshtein distance of two words.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
