package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	informerscorev1 "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"skiff/config"
	"skiff/internal/jointoken"
	"skiff/internal/memory"
	"skiff/internal/slim"
	"skiff/kubelet/cgroupfs"
	"skiff/kubelet/join"
	"skiff/kubelet/objects"
)

// agentSettings binds what an agent can be told to flags. What all nodes share it gets from the server.
type agentSettings struct {
	settings
	config.Agent
}

func (s *agentSettings) bind(f *pflag.FlagSet) {
	s.Config = config.Default()
	f.SortFlags = false
	f.StringVar(&s.file, "config", config.DefaultAgentFile, "YAML file whose keys are these flags; flags given here win")
	f.StringVar(&s.Server, "server", "", "URL of the server to join, such as https://192.0.2.10:6443")
	f.StringVar(&s.Token, "token", "", "what `skiff token create` printed on the server; not needed once this host has joined (default $"+tokenVariable+")")
	s.bindNode(f)
}

// bindNode adds the flags that say what the node of a host is.
func (s *settings) bindNode(f *pflag.FlagSet) {
	f.StringVar(&s.DataDir, "data-dir", s.DataDir, "directory for everything that must survive a restart")
	f.StringVar(&s.BindAddress, "bind-address", s.BindAddress, "address the kubelet's endpoint listens on")
	f.StringVar(&s.NodeName, "node-name", s.NodeName, "name of this host's node (default the host name)")
	f.StringVar(&s.NodeIP, "node-ip", s.NodeIP, "address of this host's node (default found on the host)")
	f.StringSliceVar(&s.NodeLabels, "node-labels", s.NodeLabels, "labels of this host's node, as KEY=VALUE")
	f.IntVar(&s.KubeletPort, "kubelet-port", s.KubeletPort, "port of the kubelet's endpoint; 0 takes any free one")
	f.IntVarP(&s.Verbosity, "v", "v", s.Verbosity, "verbosity of the log")
}

func (s *agentSettings) load(f *pflag.FlagSet) error {
	if s.Token == "" {
		s.Token = tokenFromEnvironment()
	}
	if err := s.settings.load(f); err != nil {
		return err
	}
	return s.Agent.Validate()
}

func newAgent() *cobra.Command {
	var s agentSettings
	c := &cobra.Command{
		Use:   "agent",
		Short: "Join a server and run a node; SIGTERM ends it and leaves containers running",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if err := s.load(c.Flags()); err != nil {
				return err
			}
			return attend(ctx, &s.Config, &s.Agent)
		},
	}
	s.bind(c.Flags())
	return c
}

// attend runs an agent until ctx ends. What could refuse it is looked at before anything is written.
func attend(ctx context.Context, cfg *config.Config, agent *config.Agent) error {
	if err := setVerbosity(cfg.Verbosity); err != nil {
		return err
	}
	if err := preflightNode(cfg); err != nil {
		return err
	}
	if err := preflightAgent(cfg); err != nil {
		return err
	}
	var open ports
	var err error
	open.kubelet, err = listenAt(ctx, "kubelet-port", cfg.BindAddress, cfg.KubeletPort)
	if err != nil {
		return err
	}
	defer open.close()
	unlock, err := cfg.LockDataDir()
	if err != nil {
		return err
	}
	defer func() {
		if err := unlock(); err != nil {
			klog.FromContext(ctx).Error(err, "releasing the data directory")
		}
	}()
	credentials, err := joined(ctx, cfg, agent)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return runAgent(ctx, cfg, credentials, open)
}

// preflightAgent refuses a data directory that is a server's.
func preflightAgent(cfg *config.Config) error {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "etcd")); err == nil {
		return &config.Error{Key: "data-dir", Problem: cfg.DataDir + " is a server's", Remedy: "run `skiff server` with it, or give the agent a directory of its own"}
	}
	return cfg.CheckDataDir()
}

// joined joins the server unless that is done, and learns what all nodes share.
func joined(ctx context.Context, cfg *config.Config, agent *config.Agent) (*join.Credentials, error) {
	name, err := cfg.Node()
	if err != nil {
		return nil, err
	}
	if err := recallShared(cfg); err != nil { // so that a pod's address isn't taken for the host's
		return nil, err
	}
	addresses, err := (&host{Config: cfg}).network(firstRange(cfg.PodRange())).NodeAddresses()
	if err != nil {
		return nil, err
	}
	j := join.Config{Dir: filepath.Join(cfg.DataDir, "pki"), Server: agent.URL(), Node: name, Addresses: addresses}
	done, err := j.Joined()
	if err != nil {
		return nil, err
	}
	if !done {
		if agent.Token == "" {
			return nil, &config.Error{Key: "token", Problem: "this host has not joined, or its certificate has expired", Remedy: "run `skiff token create` on the server and give what it prints"}
		}
		token, err := jointoken.Parse(agent.Token)
		if err != nil {
			return nil, err
		}
		if err := join.Join(ctx, j, token); err != nil {
			return nil, err
		}
		klog.FromContext(ctx).Info("Joined", "server", agent.Server, "node", name)
	}
	credentials, err := join.New(j)
	if err != nil {
		return nil, err
	}
	return credentials, shared(ctx, cfg, credentials)
}

// runAgent runs a node until asked ends or a part fails.
func runAgent(asked context.Context, cfg *config.Config, credentials *join.Credentials, open ports) error {
	ctx, fail := context.WithCancelCause(asked)
	defer fail(nil)
	memory.Start()
	h := &host{Config: cfg, ports: open}
	var err error
	if h.node, err = cfg.Node(); err != nil {
		return err
	}
	if h.addresses, err = h.network(firstRange(cfg.PodRange())).NodeAddresses(); err != nil {
		return err
	}
	if err := cgroupfs.Ensure(); err != nil {
		return err
	}
	runtime, err := newRuntime(h)
	if err != nil {
		return err
	}
	below, above := newLayer(ctx, fail), newLayer(ctx, fail)
	defer below.close()
	below.run("containerd", runtime.containerd.Run)
	defer above.close()
	if err := credentials.Prepare(ctx); err != nil {
		if ctx.Err() != nil {
			return ended(asked, ctx)
		}
		return err
	}
	above.run("certificates", credentials.Run)
	access, wanted, err := agentAccess(credentials, h.node)
	if err != nil {
		return err
	}
	node, err := newNode(ctx, h, access, runtime)
	if err != nil {
		return err
	}
	above.run("wanted", wanted.Run)
	node.handOver(above)
	access.own.Start(above.ctx.Done())
	access.cluster.Start(above.ctx.Done())
	above.run("memory", memory.Settle)
	<-ctx.Done()
	return ended(asked, ctx)
}

// agentAccess gives the node its parts' identities over TLS: the kubelet's, whom the API shows its own pods and what they
// name, and that of all others.
func agentAccess(credentials *join.Credentials, node string) (nodeAccess, *objects.Wanted, error) {
	a := nodeAccess{credentials: credentials}
	var err error
	if a.kubelet, err = clientOf(credentials.Kubelet()); err != nil {
		return a, nil, err
	}
	if a.storage, err = clientOf(credentials.Agent()); err != nil {
		return a, nil, err
	}
	a.cluster = informers.NewSharedInformerFactoryWithOptions(a.storage, 0, informers.WithTransform(slim.Transform()))
	a.own = informers.NewSharedInformerFactoryWithOptions(a.kubelet, 0, informers.WithTransform(slim.Transform()))
	byNamespace := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	a.own.InformerFor(&corev1.Pod{}, func(c kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return informerscorev1.NewFilteredPodInformer(c, metav1.NamespaceAll, resync, byNamespace, only("spec.nodeName", node))
	})
	a.own.InformerFor(&corev1.Node{}, func(c kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return informerscorev1.NewFilteredNodeInformer(c, resync, cache.Indexers{}, only(metav1.ObjectNameField, node))
	})
	wanted, err := objects.NewWanted(a.kubelet, a.own)
	if err != nil {
		return a, nil, building("cache of configurations and secrets", err)
	}
	return a, wanted, nil
}

func only(field, value string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) { o.FieldSelector = fields.OneTermEqualSelector(field, value).String() }
}

func clientOf(rc *rest.Config) (kubernetes.Interface, error) {
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, building("client of "+rc.UserAgent, err)
	}
	return client, nil
}
