package scheduler

import (
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"skiff/scheduler/configuration"
	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

// DefaultName is the scheduler name of pods that name none.
const DefaultName = corev1.DefaultSchedulerName

// Config sets up the scheduler. Load reads one from a file.
type Config struct {
	// Profiles are sets of plugins by the spec.schedulerName of the pods they serve; none means one of DefaultName.
	Profiles []schedv1.KubeSchedulerProfile
	// Extenders are asked over HTTP, those that may be ignored when they fail last.
	Extenders []schedv1.Extender
	// PercentageOfNodesToScore stops the search for nodes when that share of all nodes is found to fit; 0 adapts the share
	// to the size of the cluster (50 % at 100 nodes down to 5 %), 100 looks at all nodes. A profile may have its own.
	PercentageOfNodesToScore int
	// Parallelism bounds the goroutines that share the work on one pod; 0 means 16.
	Parallelism int
	// InitialBackoff and MaxBackoff bound the wait before a pod is tried again; 0 means 1 s and 10 s.
	InitialBackoff, MaxBackoff time.Duration
	// LeaderElection makes the scheduler work only while it holds the lease.
	LeaderElection bool
	// Lease is what LeaderElection is about.
	Lease Lease
	// Identity is the holder's name in the lease.
	Identity string
}

// Lease is the lease of the scheduler that works; zero values mean kube-system/kube-scheduler with upstream's times.
type Lease struct {
	Namespace, Name string
	// Duration is how long a lease that isn't renewed is respected, RenewDeadline how long its holder tries to renew it
	// before it gives up, RetryPeriod the time between tries.
	Duration, RenewDeadline, RetryPeriod time.Duration
}

// Deps is what the scheduler needs from outside.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Metrics takes the scheduler's metrics; without it they are collected in a registry of their own.
	Metrics Registry
}

// Registry takes metrics. A metrics.KubeRegistry is one.
type Registry interface {
	Register(metrics.Registerable) error
	CustomRegister(metrics.StableCollector) error
}

// Load reads a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1 and checks all of it, down to the
// certificates that it names. The errors are of one line and name the field, but not the file.
func Load(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("reading it: %w", err)
	}
	return Parse(data)
}

// Parse is Load of what stands in the file.
func Parse(data []byte) (Config, error) {
	read, err := configuration.Decode(data)
	if err != nil {
		return Config{}, err
	}
	configuration.Default(read)
	known := sets.New[string]()
	for _, e := range plugins.Default(plugins.Deps{Informers: unstarted()}) {
		known.Insert(e.Plugin.Name())
	}
	if err := configuration.Validate(read, known); err != nil {
		return Config{}, err
	}
	cfg := Config{
		Profiles: read.Profiles, Extenders: read.Extenders,
		PercentageOfNodesToScore: int(*read.PercentageOfNodesToScore), Parallelism: int(*read.Parallelism),
		InitialBackoff: time.Duration(*read.PodInitialBackoffSeconds) * time.Second,
		MaxBackoff:     time.Duration(*read.PodMaxBackoffSeconds) * time.Second,
		LeaderElection: *read.LeaderElection.LeaderElect,
		Lease: Lease{
			Namespace: read.LeaderElection.ResourceNamespace, Name: read.LeaderElection.ResourceName,
			Duration: read.LeaderElection.LeaseDuration.Duration, RenewDeadline: read.LeaderElection.RenewDeadline.Duration,
			RetryPeriod: read.LeaderElection.RetryPeriod.Duration,
		},
	}
	check := cfg
	check.LeaderElection = false
	_, err = New(check, Deps{Informers: unstarted()})
	return cfg, err
}

// unstarted are informers that nothing will ever start, for what is made only to be looked at.
func unstarted() informers.SharedInformerFactory { return informers.NewSharedInformerFactory(nil, 0) }

// Default fills in what is not set.
func (c Config) Default() Config {
	if len(c.Profiles) == 0 {
		c.Profiles = []schedv1.KubeSchedulerProfile{{SchedulerName: ptr.To(DefaultName)}}
	}
	if c.Parallelism == 0 {
		c.Parallelism = framework.DefaultParallelism
	}
	c.Lease = c.Lease.orDefault()
	return c
}

// Validate says what is wrong with the values that don't come from Load alone.
func (c Config) Validate() error {
	switch {
	case c.PercentageOfNodesToScore < 0 || c.PercentageOfNodesToScore > 100:
		return fmt.Errorf("percentageOfNodesToScore is %d, must be between 0 and 100", c.PercentageOfNodesToScore)
	case c.Parallelism < 1:
		return fmt.Errorf("parallelism is %d, must be above zero", c.Parallelism)
	case c.MaxBackoff > 0 && c.MaxBackoff < c.InitialBackoff:
		return fmt.Errorf("maxBackoff %v is below initialBackoff %v", c.MaxBackoff, c.InitialBackoff)
	case c.LeaderElection && c.Identity == "":
		return fmt.Errorf("leader election needs an identity")
	default:
		return nil
	}
}
