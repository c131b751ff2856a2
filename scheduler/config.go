package scheduler

import (
	"fmt"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics"
)

// DefaultName is the scheduler name of pods that name none.
const DefaultName = "default-scheduler"

// Config sets up the scheduler.
type Config struct {
	// Name is the spec.schedulerName of the pods this scheduler serves, and the reporting controller of its events.
	Name string
	// PercentageOfNodesToScore stops the search for nodes when that share of all nodes is found to fit; 0 adapts the share
	// to the size of the cluster (50 % at 100 nodes down to 5 %), 100 looks at all nodes.
	PercentageOfNodesToScore int
	// InitialBackoff and MaxBackoff bound the wait before a pod is tried again; 0 means 1 s and 10 s.
	InitialBackoff, MaxBackoff time.Duration
	// LeaderElection makes the scheduler work only while it holds the lease kube-system/kube-scheduler.
	LeaderElection bool
	// Identity is the holder's name in the lease.
	Identity string
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

// Default fills in what is not set.
func (c Config) Default() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	return c
}

// Validate says what is wrong.
func (c Config) Validate() error {
	switch {
	case c.PercentageOfNodesToScore < 0 || c.PercentageOfNodesToScore > 100:
		return fmt.Errorf("percentageOfNodesToScore is %d, must be between 0 and 100", c.PercentageOfNodesToScore)
	case c.MaxBackoff > 0 && c.MaxBackoff < c.InitialBackoff:
		return fmt.Errorf("maxBackoff %v is below initialBackoff %v", c.MaxBackoff, c.InitialBackoff)
	case c.LeaderElection && c.Identity == "":
		return fmt.Errorf("leader election needs an identity")
	default:
		return nil
	}
}
