package plugins_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	k8stesting "k8s.io/client-go/testing"

	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

func backing(resource string) *resourcev1.DeviceClass {
	c := deviceClass("gpu")
	c.Spec.ExtendedResourceName = &resource
	return c
}

// container adds a container that requests n of the resource.
func container(name, resource string, n int) podOpt {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: resources(resource, fmt.Sprint(n))}})
	}
}

func initContainer(name, resource string, n int, sidecar bool) podOpt {
	return func(p *corev1.Pod) {
		c := corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: resources(resource, fmt.Sprint(n))}}
		if sidecar {
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
}

func TestExtendedResourcesOfDevices(t *testing.T) {
	const gpu, implicit = "example.com/gpu", "deviceclass.resource.kubernetes.io/gpu"
	plugin := makeNode("b", allocatable("cpu", "4", "memory", "4Gi", "pods", "10", gpu, "2"))
	drained := makeNode("b", allocatable("cpu", "4", "memory", "4Gi", "pods", "10", gpu, "0"))
	bare := makeNode("b")
	stale := deviceClaim("p-extended-resources-x", exactly("gpu"))
	stale.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
	stale.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p", Controller: new(true)}}
	const none = "UU: cannot allocate all claims"
	for _, test := range []struct {
		name  string
		b     *corev1.Node
		claim *resourcev1.ResourceClaim
		pod   *corev1.Pod
		onA   string
		onB   string
	}{
		{"devices on a, nothing on b", bare, nil, makePod("p", container("x", gpu, 1)), fits, none},
		{"by the class' own name", bare, nil, makePod("p", container("x", implicit, 1)), fits, none},
		{"devices on a, a device plugin on b", plugin, nil, makePod("p", container("x", gpu, 2)), fits, fits},
		{"more than either has", plugin, nil, makePod("p", container("x", gpu, 3)), none, "UU: Insufficient example.com/gpu"},
		{"a device plugin without devices", drained, nil, makePod("p", container("x", gpu, 1)), fits, none},
		{"a resource of no class beside", bare, nil, makePod("p", container("x", gpu, 1), container("y", "example.com/else", 1)), "UU: Insufficient example.com/else", "UU: Insufficient example.com/else"},
		{"the claim of an earlier attempt", bare, stale, makePod("p", container("x", gpu, 1)), "UU: cannot schedule extended resource claim", "UU: cannot schedule extended resource claim"},
		{"none requested", bare, nil, makePod("p", container("x", gpu, 0)), fits, fits},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, []*corev1.Node{makeNode("a"), test.b}).withDevices(backing(gpu), sliceOn("a", []string{"gpu0", "gpu1"}))
			if test.claim != nil {
				w = newWorld(t, []*corev1.Node{makeNode("a"), test.b}).withDevices(backing(gpu), sliceOn("a", []string{"gpu0", "gpu1"}), test.claim)
			}
			got := w.verdicts(test.pod)
			if got["a"] != test.onA || got["b"] != test.onB {
				t.Errorf("a: %q, b: %q; want %q, %q", got["a"], got["b"], test.onA, test.onB)
			}
		})
	}
}

// TestRequestsOfExtendedResources: which device requests the containers' requests become, and who uses which.
func TestRequestsOfExtendedResources(t *testing.T) {
	const gpu = "example.com/gpu"
	for _, test := range []struct {
		name           string
		pod            *corev1.Pod
		requests, uses string
	}{
		{"one container", makePod("p", container("x", gpu, 2)), "container-1-request-0:2", "x=container-1-request-0"},
		{"place among the container's requests", makePod("p", container("x", gpu, 1), func(p *corev1.Pod) {
			p.Spec.Containers[1].Resources.Requests["cpu"] = resources("cpu", "1")["cpu"]
			p.Spec.Containers[1].Resources.Requests["memory"] = resources("memory", "1")["memory"]
		}), "container-1-request-1:1", "x=container-1-request-1"},
		{"two containers", makePod("p", container("x", gpu, 1), container("y", gpu, 2)),
			"container-1-request-0:1 container-2-request-0:2", "x=container-1-request-0 y=container-2-request-0"},
		{"init container reuses", makePod("p", initContainer("i", gpu, 1, false), container("x", gpu, 2)),
			"container-2-request-0:2", "x=container-2-request-0 i=container-2-request-0"},
		{"init container needs more", makePod("p", initContainer("i", gpu, 3, false), container("x", gpu, 1)),
			"container-0-request-0:2 container-2-request-0:1", "x=container-2-request-0 i=container-2-request-0 i=container-0-request-0"},
		{"init containers share the most", makePod("p", initContainer("i", gpu, 1, false), initContainer("j", gpu, 3, false)),
			"container-1-request-0:3", "i=container-1-request-0 j=container-1-request-0"},
		{"sidecar keeps its own, and later init containers can't use it", makePod("p", initContainer("i", gpu, 1, false), initContainer("s", gpu, 1, true), initContainer("j", gpu, 1, false)),
			"container-1-request-0:1 container-2-request-0:1", "s=container-1-request-0 i=container-1-request-0 j=container-2-request-0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			names := []string{"g0", "g1", "g2", "g3", "g4"}
			w := newWorld(t, []*corev1.Node{makeNode("a")}, test.pod).likeAPI().withDevices(backing(gpu), sliceOn("a", names))
			created, status := w.bindExtended(test.pod)
			var requests, uses []string
			for _, r := range created.Spec.Devices.Requests {
				requests = append(requests, fmt.Sprintf("%s:%d", r.Name, r.Exactly.Count))
				if r.Exactly.DeviceClassName != "gpu" {
					t.Errorf("class %s", r.Exactly.DeviceClassName)
				}
			}
			for _, m := range status.RequestMappings {
				uses = append(uses, m.ContainerName+"="+m.RequestName)
			}
			if got := strings.Join(requests, " "); got != test.requests {
				t.Errorf("requests %s, want %s", got, test.requests)
			}
			if got := strings.Join(uses, " "); got != test.uses {
				t.Errorf("uses %s, want %s", got, test.uses)
			}
		})
	}
}

// likeAPI has the client answer claims as the API does. It must come before informers use the client.
func (w *world) likeAPI() *world {
	version := 100
	w.client.PrependReactor("*", "resourceclaims", func(a k8stesting.Action) (bool, runtime.Object, error) { return w.asAPI(a, &version) })
	return w
}

// bindExtended takes the pod through an attempt up to PreBind, and answers the claim created and what the pod is told.
func (w *world) bindExtended(pod *corev1.Pod) (*resourcev1.ResourceClaim, *corev1.PodExtendedResourceClaimStatus) {
	w.t.Helper()
	ctx := w.t.Context()
	c := framework.NewCycle(info(w.t, pod), w.cache.Snapshot())
	if _, _, s := w.framework.PreFilter(ctx, c); !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	if s := w.framework.Filter(ctx, c, c.Snapshot.Nodes()[0]); !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	p := w.plugin("DynamicResources").(*plugins.DynamicResources)
	if s := p.Reserve(ctx, c, "a"); !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	if s := p.PreBind(ctx, c, "a"); !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	list, err := w.client.ResourceV1().ResourceClaims("default").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		w.t.Fatalf("%d claims, %v", len(list.Items), err)
	}
	told, err := w.client.CoreV1().Pods("default").Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil || told.Status.ExtendedResourceClaimStatus == nil {
		w.t.Fatalf("the pod isn't told: %v", err)
	}
	return &list.Items[0], told.Status.ExtendedResourceClaimStatus
}

// asAPI gives claims names, UIDs and versions before the fake takes them.
func (w *world) asAPI(a k8stesting.Action, version *int) (bool, runtime.Object, error) {
	write, ok := a.(interface{ GetObject() runtime.Object })
	if !ok {
		return false, nil, nil
	}
	claim := write.GetObject().(*resourcev1.ResourceClaim)
	*version++
	claim.ResourceVersion = fmt.Sprint(*version)
	if claim.Name == "" {
		claim.Name, claim.UID = claim.GenerateName+"x", types.UID(fmt.Sprintf("uid-%d", *version))
	}
	return false, nil, nil
}
