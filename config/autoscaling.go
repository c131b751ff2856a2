package config

import (
	"fmt"
	"time"
)

// Autoscaling is how HorizontalPodAutoscalers behave that do not say otherwise.
type Autoscaling struct {
	Period            time.Duration // between the rounds of an autoscaler
	Stabilization     time.Duration // how long the highest recommendation holds before pods are removed
	Tolerance         float64       // share of the target by which a metric may be off it without any change
	CPUInitialization time.Duration // after a pod's start, when its CPU usage counts only while it is ready
	InitialReadiness  time.Duration // after a pod's start, when becoming unready means that it never was ready
}

// DefaultAutoscaling answers upstream's defaults.
func DefaultAutoscaling() Autoscaling {
	return Autoscaling{
		Period: 15 * time.Second, Stabilization: 5 * time.Minute, Tolerance: 0.1,
		CPUInitialization: 5 * time.Minute, InitialReadiness: 30 * time.Second,
	}
}

func (c *Config) validateAutoscaling() error {
	a := &c.Autoscaling
	if a.Period <= 0 {
		return &Error{"horizontal-pod-autoscaler-sync-period", fmt.Sprintf("%s is not positive", a.Period), "give a duration such as 15s"}
	}
	for key, d := range map[string]time.Duration{
		"horizontal-pod-autoscaler-downscale-stabilization": a.Stabilization, "horizontal-pod-autoscaler-cpu-initialization-period": a.CPUInitialization,
		"horizontal-pod-autoscaler-initial-readiness-delay": a.InitialReadiness,
	} {
		if d < 0 {
			return &Error{key, fmt.Sprintf("%s is negative", d), "give a duration such as 30s"}
		}
	}
	if a.Tolerance < 0 {
		return &Error{"horizontal-pod-autoscaler-tolerance", fmt.Sprintf("%v is negative", a.Tolerance), "give a share such as 0.1"}
	}
	return nil
}
