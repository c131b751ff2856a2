// Package extender asks programs outside of the scheduler over HTTP, by k8s.io/kube-scheduler/extender/v1: each verb is a
// POST of JSON to the extender's URL with the verb behind it, answered with 200 and JSON. A verb that isn't configured is
// never called; neither is any for a pod without one of the resources the extender manages, if it manages some.
package extender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// defaultTimeout is how long a call may take when the configuration doesn't say.
const defaultTimeout = 5 * time.Second

// Extender is one extender. It is safe for concurrent use; Close ends its idle connections.
type Extender struct {
	cfg     schedv1.Extender
	managed sets.Set[string]
	client  *http.Client
}

// New makes an extender of its configuration, which must be valid. It reads the certificates named there and calls nobody.
func New(cfg schedv1.Extender) (*Extender, error) {
	transport, err := transportOf(&cfg)
	if err != nil {
		return nil, fmt.Errorf("tlsConfig: %w", err)
	}
	e := &Extender{cfg: cfg, managed: sets.New[string](), client: &http.Client{Transport: transport, Timeout: cfg.HTTPTimeout.Duration}}
	if e.client.Timeout == 0 {
		e.client.Timeout = defaultTimeout
	}
	for _, r := range cfg.ManagedResources {
		e.managed.Insert(r.Name)
	}
	return e, nil
}

// transportOf: with enableHTTPS and no authority any certificate is taken, as upstream has it.
func transportOf(cfg *schedv1.Extender) (*http.Transport, error) {
	c := rest.Config{}
	if t := cfg.TLSConfig; t != nil {
		c.TLSClientConfig = rest.TLSClientConfig{
			Insecure: t.Insecure, ServerName: t.ServerName, CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile,
			CertData: t.CertData, KeyData: t.KeyData, CAData: t.CAData,
		}
	}
	if cfg.EnableHTTPS && c.CAFile == "" && len(c.CAData) == 0 {
		c.Insecure = true
	}
	tls, err := rest.TLSConfigFor(&c)
	if err != nil {
		return nil, err
	}
	return utilnet.SetTransportDefaults(&http.Transport{TLSClientConfig: tls}), nil
}

// Close ends connections that aren't in use.
func (e *Extender) Close() { e.client.CloseIdleConnections() }

// Name is the extender's URL.
func (e *Extender) Name() string { return e.cfg.URLPrefix }

// Ignorable reports whether scheduling goes on without the extender when it fails.
func (e *Extender) Ignorable() bool { return e.cfg.Ignorable }

// Filters, Prioritizes, Binds and Preempts report which verbs the extender has.
func (e *Extender) Filters() bool { return e.cfg.FilterVerb != "" }

// Prioritizes reports whether the extender scores nodes.
func (e *Extender) Prioritizes() bool { return e.cfg.PrioritizeVerb != "" }

// Binds reports whether the extender binds pods.
func (e *Extender) Binds() bool { return e.cfg.BindVerb != "" }

// Preempts reports whether the extender has a say in preemption.
func (e *Extender) Preempts() bool { return e.cfg.PreemptVerb != "" }

// Weight is what a score counts.
func (e *Extender) Weight() int64 { return e.cfg.Weight }

// Interested reports whether the pod is any of the extender's business.
func (e *Extender) Interested(pod *corev1.Pod) bool {
	if len(e.managed) == 0 {
		return true
	}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			for _, list := range []corev1.ResourceList{containers[i].Resources.Requests, containers[i].Resources.Limits} {
				for name := range list {
					if e.managed.Has(string(name)) {
						return true
					}
				}
			}
		}
	}
	return false
}

// Verdict is what an extender says of the nodes it is asked about.
type Verdict struct {
	// Passed are the names of the nodes the pod may go to, in the extender's order.
	Passed []string
	// Failed and Unresolvable are reasons by node; those of Unresolvable can't be helped by preemption.
	Failed, Unresolvable map[string]string
}

// Filter asks which of the nodes the pod may go to.
func (e *Extender) Filter(ctx context.Context, pod *corev1.Pod, nodes []*corev1.Node) (Verdict, error) {
	var result extenderv1.ExtenderFilterResult
	if err := e.send(ctx, e.cfg.FilterVerb, e.args(pod, nodes), &result); err != nil {
		return Verdict{}, err
	}
	if result.Error != "" {
		return Verdict{}, errors.New(result.Error)
	}
	verdict := Verdict{Failed: result.FailedNodes, Unresolvable: result.FailedAndUnresolvableNodes}
	switch {
	case e.cfg.NodeCacheCapable && result.NodeNames != nil:
		verdict.Passed = *result.NodeNames
	case result.Nodes != nil:
		for i := range result.Nodes.Items {
			verdict.Passed = append(verdict.Passed, result.Nodes.Items[i].Name)
		}
	}
	asked := sets.New[string]()
	for _, node := range nodes {
		asked.Insert(node.Name)
	}
	for _, name := range verdict.Passed {
		if !asked.Has(name) {
			return Verdict{}, fmt.Errorf("extender %q claims a filtered node %q which is not found in the input node list", e.Name(), name)
		}
	}
	return verdict, nil
}

// Prioritize asks for scores of the nodes, by node: 0 to extenderv1.MaxExtenderPriority, not weighted.
func (e *Extender) Prioritize(ctx context.Context, pod *corev1.Pod, nodes []*corev1.Node) (extenderv1.HostPriorityList, error) {
	var result extenderv1.HostPriorityList
	return result, e.send(ctx, e.cfg.PrioritizeVerb, e.args(pod, nodes), &result)
}

// args gives an extender that keeps nodes itself their names alone.
func (e *Extender) args(pod *corev1.Pod, nodes []*corev1.Node) *extenderv1.ExtenderArgs {
	args := &extenderv1.ExtenderArgs{Pod: pod}
	if e.cfg.NodeCacheCapable {
		names := make([]string, 0, len(nodes))
		for _, node := range nodes {
			names = append(names, node.Name)
		}
		args.NodeNames = &names
		return args
	}
	args.Nodes = &corev1.NodeList{}
	for _, node := range nodes {
		args.Nodes.Items = append(args.Nodes.Items, *node)
	}
	return args
}

// Bind has the extender bind the pod.
func (e *Extender) Bind(ctx context.Context, pod *corev1.Pod, node string) error {
	args := &extenderv1.ExtenderBindingArgs{PodName: pod.Name, PodNamespace: pod.Namespace, PodUID: pod.UID, Node: node}
	var result extenderv1.ExtenderBindingResult
	if err := e.send(ctx, e.cfg.BindVerb, args, &result); err != nil {
		return err
	}
	if result.Error != "" {
		return errors.New(result.Error)
	}
	return nil
}

// Preempt asks which of the nodes remain, and which victims on them. An extender that keeps nodes itself is told the
// victims' UIDs alone; it answers with UIDs in any case.
func (e *Extender) Preempt(ctx context.Context, pod *corev1.Pod, victims map[string]*extenderv1.Victims) (map[string]*extenderv1.MetaVictims, error) {
	args := &extenderv1.ExtenderPreemptionArgs{Pod: pod}
	if e.cfg.NodeCacheCapable {
		args.NodeNameToMetaVictims = map[string]*extenderv1.MetaVictims{}
		for node, v := range victims {
			meta := &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{}, NumPDBViolations: v.NumPDBViolations}
			for _, victim := range v.Pods {
				meta.Pods = append(meta.Pods, &extenderv1.MetaPod{UID: string(victim.UID)})
			}
			args.NodeNameToMetaVictims[node] = meta
		}
	} else {
		args.NodeNameToVictims = victims
	}
	var result extenderv1.ExtenderPreemptionResult
	if err := e.send(ctx, e.cfg.PreemptVerb, args, &result); err != nil {
		return nil, err
	}
	return result.NodeNameToMetaVictims, nil
}

// send calls a verb.
func (e *Extender) send(ctx context.Context, verb string, args, result any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("encoding the arguments of %s: %w", verb, err)
	}
	url := strings.TrimRight(e.cfg.URLPrefix, "/") + "/" + verb
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("calling extender %s: %w", url, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("failed %v with extender at URL %v, code %v", verb, url, response.StatusCode)
	}
	if err := json.NewDecoder(response.Body).Decode(result); err != nil {
		return fmt.Errorf("decoding the answer of extender %s: %w", url, err)
	}
	return nil
}
