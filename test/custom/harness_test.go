package custom

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"skiff/test/env"
	"skiff/test/rawapi"
)

const (
	crds  = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	asCRD = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
)

// TestCustomResources runs every story against one server, each in an API group
// of its own.
func TestCustomResources(t *testing.T) {
	s := env.Start(t, env.Options{})
	a := rawapi.New(t, s.Admin())
	a.Must(t, "POST", "/api/v1/namespaces", "{apiVersion: v1, kind: Namespace, metadata: {name: team}}")
	stories := map[string]func(*testing.T, *rawapi.API){
		"refused definitions": testRefused,
		"values":              testValues,
		"rules":               testRules,
		"ratcheting":          testRatcheting,
		"list types":          testListTypes,
		"field validation":    testFieldValidation,
		"preserving":          testPreserving,
		"conversion":          testConversion,
		"storage versions":    testStorageVersions,
		"subresources":        testSubresources,
		"selectable fields":   testSelectableFields,
		"columns":             testColumns,
		"names":               testNames,
		"deletion":            testDeletion,
		"watches":             testWatches,
		"publishing":          testPublishing,
		"deprecation":         testDeprecation,
		"media types":         testMediaTypes,
		"patches":             testPatches,
		"requests":            testRequests,
		"empty lists":         testEmptyLists,
		"large definition":    testLarge,
		"events":              testEventsByName,
	}
	t.Run("stories", func(t *testing.T) {
		for name, story := range stories {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				story(t, a)
			})
		}
	})
	t.Run("stored form", func(t *testing.T) { testStoredForm(t, a, s) })
	t.Run("explain", func(t *testing.T) { testExplain(t, a, s.Kubeconfig()) })
}

// define creates the definition and waits until it is served.
func define(t testing.TB, a *rawapi.API, manifest string) {
	t.Helper()
	var crd struct {
		Metadata struct{ Name string }
		Spec     struct {
			Group    string
			Names    struct{ Plural string }
			Versions []struct {
				Name   string
				Served bool
			}
		}
	}
	if err := yaml.Unmarshal([]byte(manifest), &crd); err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	a.Must(t, "POST", crds, asCRD+manifest)
	for _, v := range crd.Spec.Versions {
		if v.Served {
			path := fmt.Sprintf("/apis/%s/%s/%s", crd.Spec.Group, v.Name, crd.Spec.Names.Plural)
			rawapi.Eventually(t, path+" is served", func() (bool, string) {
				got := a.Do(t, "GET", path, "")
				return got.Code == http.StatusOK, got.Body
			})
		}
	}
}

// indent moves the lines of s to the right, for putting YAML into YAML.
func indent(s string, by int) string {
	pad := strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+pad)
}

// thing is a definition of things in the group with the schema of their spec
// and, after it, more fields of the version.
func thing(group, spec, more string) string {
	return fmt.Sprintf(`metadata: {name: things.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions:
  - name: v1
    served: true
    storage: true
%[3]s
    schema:
      openAPIV3Schema:
        type: object
        properties:
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
          spec:
%[2]s
`, group, indent(spec, 12), indent(more+"\n", 4))
}

// things is the path of the collection in namespace team.
func things(group string) string { return "/apis/" + group + "/v1/namespaces/team/things" }

// object is a thing with the given spec (flow YAML).
func object(group, name, spec string) string {
	return fmt.Sprintf("{apiVersion: %s/v1, kind: Thing, metadata: {name: %s}, spec: %s}", group, name, spec)
}

// jsonOf turns YAML into JSON.
func jsonOf(t testing.TB, body string) string {
	t.Helper()
	out, err := yaml.YAMLToJSON([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
