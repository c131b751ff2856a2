// Package env composes the environment of containers: what the spec sets, what it takes from ConfigMaps, Secrets, files
// and the pod's own fields, and the variables that announce services.
//
// Precedence, weakest first: services, envFrom in its order, env in its order. A value may use $(NAME) of anything weaker
// and of env entries before it. The texts of errors are the ones users know from a container that waits with
// CreateContainerConfigError.
package env

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"skiff/kubelet/objects"
)

// Deps is what environments are made from.
type Deps struct {
	// Client speaks as the node; Informers hold ConfigMaps, Secrets and Services.
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Allocatable answers what the node can allocate, for limits a container does not set.
	Allocatable func() corev1.ResourceList
	// VolumePath answers the host path of a mounted volume, for variables read from files.
	VolumePath func(pod *corev1.Pod, volume string) (string, error)
	// Events takes warnings about names that cannot be variables; nil drops them.
	Events record.EventRecorder
}

// Builder builds environments. It is safe for concurrent use.
type Builder struct {
	deps           Deps
	objects        *objects.Reader
	services       corelisters.ServiceLister
	servicesSynced func() bool
}

// New registers the informers it needs, so it has to run before the factory is started.
func New(deps Deps) *Builder {
	services := deps.Informers.Core().V1().Services()
	return &Builder{
		deps:           deps,
		objects:        objects.New(deps.Client, deps.Informers),
		services:       services.Lister(),
		servicesSynced: services.Informer().HasSynced,
	}
}

var errServicesUnread = errors.New("services have not yet been read at least once, cannot construct envvars")

// Environment answers the variables of a container in the order the spec sets them, then those of envFrom and of
// services by name. The pod's addresses are given because its status may not have them yet.
func (b *Builder) Environment(ctx context.Context, pod *corev1.Pod, c *corev1.Container, podIP string, podIPs []string) ([]corev1.EnvVar, error) {
	if !b.servicesSynced() {
		return nil, errServicesUnread
	}
	services, err := b.serviceVariables(pod)
	if err != nil {
		return nil, err
	}
	s := &scope{
		pod: withAddresses(pod, podIP, podIPs), container: c,
		services: services, set: map[string]string{},
		configMaps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{},
	}
	for i := range c.EnvFrom {
		if err := b.addAll(ctx, s, &c.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		if err := b.add(ctx, s, &c.Env[i]); err != nil {
			return nil, err
		}
	}
	return s.result(), nil
}

// scope is one environment while it grows.
type scope struct {
	pod        *corev1.Pod
	container  *corev1.Container
	services   map[string]string
	set        map[string]string
	order      []string // names env has set, in order
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
}

func (s *scope) lookup(name string) (string, bool) {
	if value, ok := s.set[name]; ok {
		return value, true
	}
	value, ok := s.services[name]
	return value, ok
}

func (s *scope) put(name, value string) {
	if !slices.Contains(s.order, name) {
		s.order = append(s.order, name)
	}
	s.set[name] = value
}

func (s *scope) result() []corev1.EnvVar {
	result := make([]corev1.EnvVar, 0, len(s.set)+len(s.services))
	for _, name := range s.order {
		result = append(result, corev1.EnvVar{Name: name, Value: s.set[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(s.set)) {
		if !slices.Contains(s.order, name) {
			result = append(result, corev1.EnvVar{Name: name, Value: s.set[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.services)) {
		if _, replaced := s.set[name]; !replaced {
			result = append(result, corev1.EnvVar{Name: name, Value: s.services[name]})
		}
	}
	return result
}

// addAll adds every usable key of an envFrom source.
func (b *Builder) addAll(ctx context.Context, s *scope, from *corev1.EnvFromSource) error {
	switch {
	case from.ConfigMapRef != nil:
		found, err := b.configMap(ctx, s, from.ConfigMapRef.Name)
		if found == nil {
			return unlessOptional(err, from.ConfigMapRef.Optional)
		}
		b.addKeys(s, from.Prefix, "configMap "+s.pod.Namespace+"/"+found.Name, found.Data)
	case from.SecretRef != nil:
		found, err := b.secret(ctx, s, from.SecretRef.Name)
		if found == nil {
			return unlessOptional(err, from.SecretRef.Optional)
		}
		texts := make(map[string]string, len(found.Data))
		for key, value := range found.Data {
			texts[key] = string(value)
		}
		b.addKeys(s, from.Prefix, "secret "+s.pod.Namespace+"/"+found.Name, texts)
	}
	return nil
}

// addKeys adds keys as variables, skipping with an event those whose name cannot be one.
func (b *Builder) addKeys(s *scope, prefix, source string, values map[string]string) {
	var invalid []string
	for key, value := range values {
		name := prefix + key
		if len(validation.IsRelaxedEnvVarName(name)) > 0 {
			invalid = append(invalid, name)
			continue
		}
		s.set[name] = value
	}
	if len(invalid) == 0 || b.deps.Events == nil {
		return
	}
	slices.Sort(invalid)
	b.deps.Events.Eventf(s.pod, corev1.EventTypeWarning, "InvalidEnvironmentVariableNames",
		"Keys [%s] from the EnvFrom %s were skipped since they are considered invalid environment variable names.",
		strings.Join(invalid, ", "), source)
}

// add sets one variable of env.
func (b *Builder) add(ctx context.Context, s *scope, v *corev1.EnvVar) error {
	if v.ValueFrom == nil || v.Value != "" {
		s.put(v.Name, Expand(v.Value, s.lookup))
		return nil
	}
	value, found, err := b.valueFrom(ctx, s, v.ValueFrom)
	if err != nil {
		return err
	}
	if found {
		s.put(v.Name, value)
	}
	return nil
}

func (b *Builder) configMap(ctx context.Context, s *scope, name string) (*corev1.ConfigMap, error) {
	if found, ok := s.configMaps[name]; ok {
		return found, nil
	}
	found, err := b.objects.ConfigMap(ctx, s.pod.Namespace, name)
	if err != nil {
		return nil, err
	}
	s.configMaps[name] = found
	return found, nil
}

func (b *Builder) secret(ctx context.Context, s *scope, name string) (*corev1.Secret, error) {
	if found, ok := s.secrets[name]; ok {
		return found, nil
	}
	found, err := b.objects.Secret(ctx, s.pod.Namespace, name)
	if err != nil {
		return nil, err
	}
	s.secrets[name] = found
	return found, nil
}

// unlessOptional drops the error of a missing object that may be missing.
func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && ptr.Deref(optional, false) {
		return nil
	}
	return err
}

// withAddresses is the pod with the addresses it has just got.
func withAddresses(pod *corev1.Pod, podIP string, podIPs []string) *corev1.Pod {
	if podIP == "" && len(podIPs) == 0 {
		return pod
	}
	copied := *pod
	if podIP == "" {
		podIP = podIPs[0]
	}
	if len(podIPs) == 0 {
		podIPs = []string{podIP}
	}
	copied.Status.PodIP = podIP
	copied.Status.PodIPs = make([]corev1.PodIP, 0, len(podIPs))
	for _, ip := range podIPs {
		copied.Status.PodIPs = append(copied.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return &copied
}

func keyMissing(key, kind, namespace, name string) error {
	return fmt.Errorf("couldn't find key %v in %s %v/%v", key, kind, namespace, name)
}
