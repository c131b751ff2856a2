package e2e

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"skiff/test/cluster"
	"skiff/test/images"
)

const boatCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.test}
spec:
  group: example.test
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bo]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Length, type: integer, jsonPath: .spec.length}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [length], properties: {length: {type: integer, minimum: 1}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

func testCustomResource(t *testing.T, c *cluster.Cluster) {
	c.Apply(t, boatCRD)
	c.Kubectl(t, "wait", "--for=condition=Established", "crd/boats.example.test", "--timeout=30s")
	boat := "apiVersion: example.test/v1\nkind: Boat\nmetadata: {name: skiff}\nspec: {length: 4}\n"
	cluster.WaitFor(t, "the resource to be served", 10*time.Second, func() error {
		cmd := c.Command("kubectl", "apply", "-f", "-")
		cmd.Stdin = strings.NewReader(boat)
		_, err := cluster.Output(cmd)
		return err
	})
	if out := c.Kubectl(t, "get", "bo"); !regexp.MustCompile(`NAME\s+LENGTH\nskiff\s+4`).MatchString(out) {
		t.Errorf("get:\n%s", out)
	}
	bad := c.Command("kubectl", "apply", "-f", "-")
	bad.Stdin = strings.NewReader(strings.Replace(boat, "length: 4", "length: 0", 1))
	if _, err := cluster.Output(bad); err == nil || !strings.Contains(err.Error(), "should be greater than or equal to 1") {
		t.Errorf("an invalid object: %v", err)
	}
	c.Kubectl(t, "delete", "boat", "skiff")
}

// testInformer runs a client-go informer as any program would.
func testInformer(t *testing.T, c *cluster.Cluster) {
	rc, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	rc.Dial = c.NS.Dial
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	seen := make(chan string, 100)
	informer := factory.Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { seen <- "added " + o.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, o any) { seen <- "updated " + o.(*corev1.ConfigMap).Name },
		DeleteFunc: func(o any) { seen <- "deleted " + o.(*corev1.ConfigMap).Name },
	}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	factory.Start(stop)
	defer factory.Shutdown()
	defer close(stop)
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the cache did not sync")
	}
	maps := client.CoreV1().ConfigMaps("default")
	m, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "watched"}}, metav1.CreateOptions{})
	if err == nil {
		m.Data = map[string]string{"a": "b"}
		_, err = maps.Update(t.Context(), m, metav1.UpdateOptions{})
	}
	if err := errors.Join(err, maps.Delete(t.Context(), "watched", metav1.DeleteOptions{})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"added watched", "updated watched", "deleted watched"} {
		for got := ""; got != want; {
			select {
			case got = <-seen:
			case <-time.After(10 * time.Second):
				t.Fatalf("%q was not seen", want)
			}
		}
	}
}

// testOperator deploys two replicas of a controller-runtime operator, lets one
// lead, removes it and expects the other to go on.
func testOperator(t *testing.T, c *cluster.Cluster) {
	image, err := images.Operator(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Open.Add("operator", "v1", image); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, boatCRD)
	c.Apply(t, fmt.Sprintf(operatorManifest, cluster.OpenRegistry))
	c.Kubectl(t, "rollout", "status", "deployment/operator", "--timeout=90s")
	boat := func(name string) {
		t.Helper()
		c.Apply(t, "apiVersion: example.test/v1\nkind: Boat\nmetadata: {name: "+name+"}\nspec: {length: 7}\n")
		cluster.WaitFor(t, "the operator to serve "+name, 60*time.Second, func() error {
			out, err := c.Try("get", "configmap/boat-"+name, "-o", "jsonpath={.data.length}")
			if err == nil && out != "7" {
				err = fmt.Errorf("length is %q", out)
			}
			return err
		})
	}
	boat("one")
	c.Kubectl(t, "wait", "boat/one", "--for=jsonpath={.status.length}=7", "--timeout=30s")
	holder := c.Kubectl(t, "get", "lease", "boats.example.test", "-o", "jsonpath={.spec.holderIdentity}")
	leader, _, _ := strings.Cut(holder, "_")
	c.Kubectl(t, "delete", "pod", leader)
	boat("two")
	if now := c.Kubectl(t, "get", "lease", "boats.example.test", "-o", "jsonpath={.spec.holderIdentity}"); now == holder {
		t.Errorf("%s still leads", now)
	}
	c.Kubectl(t, "delete", "boat", "one", "two")
	cluster.WaitFor(t, "the garbage collector", 30*time.Second, func() error {
		if out := c.Kubectl(t, "get", "configmaps", "-o", "name"); strings.Contains(out, "boat-") {
			return errors.New(out)
		}
		return nil
	})
	c.Kubectl(t, "delete", "deployment/operator", "crd/boats.example.test")
}

const operatorManifest = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator}
rules:
- {apiGroups: [example.test], resources: [boats, boats/status], verbs: [get, list, watch, update, patch]}
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch, create, update]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
- {apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operator}
rules:
- {apiGroups: [example.test], resources: [boats], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator}
spec:
  replicas: 2
  selector: {matchLabels: {app: operator}}
  template:
    metadata: {labels: {app: operator}}
    spec:
      serviceAccountName: operator
      containers: [{name: operator, image: %s/operator:v1}]
`
