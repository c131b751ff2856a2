package scheduler_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// program is an extender that answers as told.
type program struct {
	*httptest.Server
	mu sync.Mutex
	// verbs are the answers by verb; one that is missing is a 500.
	verbs map[string]func(body *json.Decoder) any
	calls []string
}

func newProgram(t *testing.T) *program {
	p := &program{verbs: map[string]func(*json.Decoder) any{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verb := strings.TrimPrefix(r.URL.Path, "/base/")
		p.mu.Lock()
		answer := p.verbs[verb]
		p.calls = append(p.calls, verb)
		p.mu.Unlock()
		if answer == nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		if err := json.NewEncoder(w).Encode(answer(json.NewDecoder(r.Body))); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// answer sets what a verb answers.
func answer[A any](p *program, verb string, to func(args A) any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verbs[verb] = func(body *json.Decoder) any {
		var args A
		if err := body.Decode(&args); err != nil {
			return err.Error()
		}
		return to(args)
	}
}

func (p *program) called(verb string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.calls, verb)
}

// config writes the extender's entry.
func (p *program) config(rest string) string {
	return fmt.Sprintf("extenders: [{urlPrefix: '%s/base/', %s}]", p.URL, rest)
}

// keeps answers that of the nodes asked about one remains.
func keeps(name string, failed, unresolvable map[string]string) func(extenderv1.ExtenderArgs) any {
	return func(args extenderv1.ExtenderArgs) any {
		result := &extenderv1.ExtenderFilterResult{FailedNodes: failed, FailedAndUnresolvableNodes: unresolvable}
		if args.NodeNames != nil {
			names := []string{}
			if slices.Contains(*args.NodeNames, name) {
				names = append(names, name)
			}
			result.NodeNames = &names
			return result
		}
		result.Nodes = &corev1.NodeList{}
		for _, n := range args.Nodes.Items {
			if n.Name == name {
				result.Nodes.Items = append(result.Nodes.Items, n)
			}
		}
		return result
	}
}

func TestExtenderFilters(t *testing.T) {
	for _, capable := range []bool{false, true} {
		t.Run(fmt.Sprintf("names alone: %v", capable), func(t *testing.T) {
			p := newProgram(t)
			answer(p, "filter", keeps("n2", map[string]string{"n1": "too loud"}, nil))
			c := startWith(t, parse(t, p.config(fmt.Sprintf("filterVerb: filter, nodeCacheCapable: %v", capable))), node("n1", "4"), node("n2", "4"))
			c.create(pod("a", "1"))
			c.onNode("a", "n2")
			answer(p, "filter", keeps("", map[string]string{"n1": "too loud", "n2": "gone quiet"}, map[string]string{"n2": "too far"}))
			c.create(pod("b", "1"))
			c.waitsWith("b", corev1.PodReasonUnschedulable, "0/2 nodes are available: 1 too far, 1 too loud. preemption: 0/2 nodes are available: "+
				"1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.")
			answer(p, "filter", keeps("n1", nil, nil))
			// Any event at all has the pod asked for again, since nobody knows what the extender waits for.
			if _, err := c.client.CoreV1().Nodes().Create(c.ctx, node("n3", "1"), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			c.onNode("b", "n1")
		})
	}
}

func TestExtenderFailures(t *testing.T) {
	broken := func(p *program) string {
		return fmt.Sprintf("failed filter with extender at URL %s/base/filter, code 500", p.URL)
	}
	t.Run("not to be ignored", func(t *testing.T) {
		p := newProgram(t)
		c := startWith(t, parse(t, p.config("filterVerb: filter")), node("n1", "4"))
		c.create(pod("a", "1"))
		c.waitsWith("a", corev1.PodReasonSchedulerError, broken(p))
		c.event("FailedScheduling", broken(p))
		answer(p, "filter", keeps("n1", nil, nil))
		c.onNode("a", "n1")
	})
	t.Run("ignorable", func(t *testing.T) {
		p := newProgram(t)
		c := startWith(t, parse(t, p.config("filterVerb: filter, ignorable: true")), node("n1", "4"))
		c.create(pod("a", "1"))
		c.onNode("a", "n1")
	})
	t.Run("an error in the answer", func(t *testing.T) {
		p := newProgram(t)
		answer(p, "filter", func(extenderv1.ExtenderArgs) any { return &extenderv1.ExtenderFilterResult{Error: "out of order"} })
		c := startWith(t, parse(t, p.config("filterVerb: filter")), node("n1", "4"))
		c.create(pod("a", "1"))
		c.waitsWith("a", corev1.PodReasonSchedulerError, "out of order")
	})
	t.Run("a node nobody asked about", func(t *testing.T) {
		p := newProgram(t)
		answer(p, "filter", func(extenderv1.ExtenderArgs) any {
			return &extenderv1.ExtenderFilterResult{NodeNames: &[]string{"n9"}}
		})
		c := startWith(t, parse(t, p.config("filterVerb: filter, nodeCacheCapable: true")), node("n1", "4"))
		c.create(pod("a", "1"))
		c.waitsWith("a", corev1.PodReasonSchedulerError, fmt.Sprintf(`extender "%s/base/" claims a filtered node "n9" which is not found in the input node list`, p.URL))
	})
	t.Run("too slow", func(t *testing.T) {
		p := newProgram(t)
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		answer(p, "filter", func(extenderv1.ExtenderArgs) any { <-release; return nil })
		c := startWith(t, parse(t, p.config("filterVerb: filter, ignorable: true, httpTimeout: 20ms")), node("n1", "4"))
		c.create(pod("a", "1"))
		c.onNode("a", "n1")
	})
}

func TestExtenderPrioritizes(t *testing.T) {
	p := newProgram(t)
	answer(p, "prioritize", func(extenderv1.ExtenderArgs) any {
		return extenderv1.HostPriorityList{{Host: "n1", Score: 0}, {Host: "n2", Score: 10}}
	})
	c := startWith(t, parse(t, p.config("prioritizeVerb: prioritize, weight: 100")), node("n1", "64"), node("n2", "4"))
	for i := range 3 {
		name := fmt.Sprintf("p%d", i)
		c.create(pod(name, "1"))
		c.onNode(name, "n2")
	}
	answer(p, "prioritize", func(extenderv1.ExtenderArgs) any { return "nonsense" })
	c.create(pod("later", "1"))
	c.onNode("later", "n1")
}

func TestExtenderBinds(t *testing.T) {
	p := newProgram(t)
	var c *cluster
	failing := true
	answer(p, "bind", func(args extenderv1.ExtenderBindingArgs) any {
		if failing {
			failing = false
			return &extenderv1.ExtenderBindingResult{Error: "no driver"}
		}
		// As the client's calls do, one of which may be writing what became of the first attempt.
		c.client.Lock()
		defer c.client.Unlock()
		if err := c.place(args.PodNamespace, args.PodName, args.Node); err != nil || args.PodUID == "" {
			return &extenderv1.ExtenderBindingResult{Error: "the pod is missing"}
		}
		return &extenderv1.ExtenderBindingResult{}
	})
	c = startWith(t, parse(t, p.config("bindVerb: bind, managedResources: [{name: example.com/gpu, ignoredByScheduler: true}]")), node("n1", "4"))
	c.create(pod("plain", "1"))
	c.onNode("plain", "n1")
	if p.called("bind") {
		t.Error("the extender was asked about a pod without its resource")
	}
	gpu := pod("gpu", "1")
	gpu.Spec.Containers[0].Resources.Requests["example.com/gpu"] = resource.MustParse("1")
	c.create(gpu)
	c.event("FailedScheduling", "no driver")
	c.onNode("gpu", "n1")
	c.event("Scheduled", "Successfully assigned default/gpu to n1")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bindings != 1 {
		t.Errorf("%d bindings by the scheduler itself, want the plain pod's", c.bindings)
	}
}

// TestManagedResourceStillCounts: without ignoredByScheduler the node has to have the resource.
func TestManagedResourceStillCounts(t *testing.T) {
	p := newProgram(t)
	answer(p, "filter", keeps("n1", nil, nil))
	c := startWith(t, parse(t, p.config("filterVerb: filter, managedResources: [{name: example.com/gpu}]")), node("n1", "4"))
	gpu := pod("gpu", "1")
	gpu.Spec.Containers[0].Resources.Requests["example.com/gpu"] = resource.MustParse("1")
	c.create(gpu)
	c.waitsWith("gpu", corev1.PodReasonUnschedulable,
		"0/1 nodes are available: 1 Insufficient example.com/gpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
}

func TestExtenderPreempts(t *testing.T) {
	for _, capable := range []bool{false, true} {
		t.Run(fmt.Sprintf("names alone: %v", capable), func(t *testing.T) {
			p := newProgram(t)
			answer(p, "preempt", func(args extenderv1.ExtenderPreemptionArgs) any {
				result := &extenderv1.ExtenderPreemptionResult{NodeNameToMetaVictims: map[string]*extenderv1.MetaVictims{}}
				for name, v := range args.NodeNameToMetaVictims {
					if name == "n2" {
						result.NodeNameToMetaVictims[name] = v
					}
				}
				if v := args.NodeNameToVictims["n2"]; v != nil {
					result.NodeNameToMetaVictims["n2"] = &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{{UID: string(v.Pods[0].UID)}}}
				}
				return result
			})
			c := startWith(t, parse(t, p.config(fmt.Sprintf("preemptVerb: preempt, nodeCacheCapable: %v", capable))), node("n1", "1"), node("n2", "1"))
			// Without the extender the victim on n1 would go, whose priority is lower.
			for i, name := range []string{"n1", "n2"} {
				low := pod("low-"+name, "1")
				low.Spec.NodeSelector = map[string]string{corev1.LabelHostname: name}
				low.Spec.Priority = new(int32(i))
				c.create(low)
				c.onNode(low.Name, name)
			}
			high := pod("high", "1")
			high.Spec.Priority = new(int32(100))
			c.create(high)
			c.onNode("high", "n2")
			c.event("Preempted", fmt.Sprintf("Preempted by pod %v on node n2", c.pod("high").UID))
		})
	}
}

func TestExtenderForbidsPreemption(t *testing.T) {
	p := newProgram(t)
	answer(p, "preempt", func(extenderv1.ExtenderPreemptionArgs) any { return &extenderv1.ExtenderPreemptionResult{} })
	c := startWith(t, parse(t, p.config("preemptVerb: preempt")), node("n1", "1"))
	c.create(pod("low", "1"))
	c.onNode("low", "n1")
	high := pod("high", "1")
	high.Spec.Priority = new(int32(100))
	c.create(high)
	c.waitsWith("high", corev1.PodReasonUnschedulable, "0/1 nodes are available: 1 Insufficient cpu. preemption: no candidate node for preemption")
}

// TestPreemptionWhereExtenderRefuses: the pod would fit the node that the extender turns down, and preempts on the other.
func TestPreemptionWhereExtenderRefuses(t *testing.T) {
	p := newProgram(t)
	answer(p, "filter", keeps("n1", nil, nil))
	c := startWith(t, parse(t, p.config("filterVerb: filter")), node("n1", "4"), node("n2", "2"))
	c.create(pod("low1", "1"))
	c.onNode("low1", "n1")
	answer(p, "filter", keeps("n2", map[string]string{"n1": "too loud"}, nil))
	c.create(pod("low2", "2"))
	c.onNode("low2", "n2")
	high := pod("high", "2")
	high.Spec.Priority = new(int32(100))
	c.create(high)
	c.onNode("high", "n2")
	c.event("Preempted", fmt.Sprintf("Preempted by pod %v on node n2", c.pod("high").UID))
	c.pod("low1")
}

// TestExtenderOverTLS trusts the authority it is given, and no other.
func TestExtenderOverTLS(t *testing.T) {
	for name, test := range map[string]struct {
		tls    string
		placed bool
	}{
		"any certificate": {"enableHTTPS: true", true}, "unknown authority": {"tlsConfig: {}", false}, "insecure": {"tlsConfig: {insecure: true}", true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var args extenderv1.ExtenderArgs
				if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
					t.Error(err)
				}
				if err := json.NewEncoder(w).Encode(&extenderv1.ExtenderFilterResult{Nodes: args.Nodes}); err != nil {
					t.Error(err)
				}
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			t.Cleanup(server.Close)
			c := startWith(t, parse(t, fmt.Sprintf("extenders: [{urlPrefix: '%s', filterVerb: filter, %s}]", server.URL, test.tls)), node("n1", "4"))
			c.create(pod("a", "1"))
			if test.placed {
				c.onNode("a", "n1")
				return
			}
			c.waitsWith("a", corev1.PodReasonSchedulerError,
				fmt.Sprintf("Post %q: tls: failed to verify certificate: x509: certificate signed by unknown authority", server.URL+"/filter"))
		})
	}
}
