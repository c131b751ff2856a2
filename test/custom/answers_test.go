package custom

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"skiff/test/cluster"
	"skiff/test/rawapi"
)

const (
	asTable   = "application/json;as=Table;v=v1;g=meta.k8s.io"
	asPartial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
)

const columned = `additionalPrinterColumns:
- {name: Word, type: string, jsonPath: .spec.word}
- {name: Count, type: integer, jsonPath: .spec.count, format: int32, description: how many, priority: 1}
- {name: Share, type: number, jsonPath: .spec.share}
- {name: "On", type: boolean, jsonPath: .spec.lit}
- {name: Since, type: date, jsonPath: .spec.since}
- {name: Ready, type: string, jsonPath: '.spec.conditions[?(@.type=="Ready")].status'}
- {name: Many, type: string, jsonPath: '.spec.conditions[*].type'}
`

func testColumns(t *testing.T, a *rawapi.API) {
	const group = "columns.test"
	define(t, a, thing(group, "{type: object, x-kubernetes-preserve-unknown-fields: true}", columned))
	a.Must(t, "POST", things(group), object(group, "full", "{word: a, count: 3, share: 0.5, lit: true, since: '2020-01-01T00:00:00Z', conditions: [{type: Ready, status: 'True'}, {type: Done, status: 'False'}]}"))
	a.Must(t, "POST", things(group), object(group, "none", "{word: {a: 1}, count: x}"))
	got := a.Must(t, "GET", things(group), "", "Accept", asTable)
	var columns []string
	for _, c := range rawapi.At(got.Object, "columnDefinitions").([]any) {
		columns = append(columns, fmt.Sprintf("%v %v %v", rawapi.At(c, "name"), rawapi.At(c, "type"), rawapi.At(c, "priority")))
	}
	if rawapi.Flat(columns) != `["Name string 0","Word string 0","Count integer 1","Share number 0","On boolean 0","Since date 0","Ready string 0","Many string 0"]` {
		t.Errorf("columns: %s", rawapi.Flat(columns))
	}
	cells := rawapi.At(got.Object, "rows.0.cells").([]any)
	if !strings.HasSuffix(fmt.Sprint(cells[5]), "y") && !strings.Contains(fmt.Sprint(cells[5]), "y") {
		t.Errorf("age: %v", cells[5])
	}
	cells[5] = "age"
	if rawapi.Flat(cells) != `["full","a",3,0.5,true,"age","True","Ready"]` {
		t.Errorf("cells: %s", rawapi.Flat(cells))
	}
	if kind := rawapi.At(got.Object, "rows.0.object.kind"); kind != "PartialObjectMetadata" {
		t.Errorf("the row's object is a %v", kind)
	}
	if cells := rawapi.Flat(rawapi.At(got.Object, "rows.1.cells")); cells != `["none","{\"a\":1}",null,null,null,null,null,null]` && cells != `["none","map[a:1]",null,null,null,null,null,null]` {
		t.Errorf("cells of nothing: %s", cells)
	}
	define(t, a, thing("plain.test", "{type: object}", ""))
	got = a.Must(t, "GET", things("plain.test"), "", "Accept", asTable)
	if rawapi.At(got.Object, "columnDefinitions.1.name") != "Age" {
		t.Errorf("without columns: %s", got.Body)
	}
}

func testMediaTypes(t *testing.T, a *rawapi.API) {
	const group = "media.test"
	define(t, a, thing(group, "{type: object, properties: {a: {type: integer}}}", ""))
	a.Must(t, "POST", things(group), object(group, "x", "{a: 1}"))
	const protobuf, cbor = "application/vnd.kubernetes.protobuf", "application/cbor"
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		code               int
		want               string
	}{
		"accept protobuf":      {"GET", "/x", "", []string{"Accept", protobuf}, 406, "only the following media types are accepted"},
		"protobuf or json":     {"GET", "/x", "", []string{"Accept", protobuf + ",application/json"}, 200, `"a":1`},
		"send protobuf":        {"POST", "", "k8s\x00", []string{"Content-Type", protobuf}, 415, "the body of the request was in an unknown format"},
		"accept yaml":          {"GET", "/x", "", []string{"Accept", "application/yaml"}, 200, "spec:\n  a: 1\n"},
		"accept cbor":          {"GET", "/x", "", []string{"Accept", cbor}, 406, ""},
		"partial":              {"GET", "/x", "", []string{"Accept", asPartial}, 200, `"kind":"PartialObjectMetadata"`},
		"partial list":         {"GET", "", "", []string{"Accept", strings.Replace(asPartial, "Metadata", "MetadataList", 1)}, 200, `"kind":"PartialObjectMetadataList"`},
		"partial in protobuf":  {"GET", "/x", "", []string{"Accept", strings.Replace(asPartial, "application/json", protobuf, 1)}, 200, "PartialObjectMetadata"},
		"table of one":         {"GET", "/x", "", []string{"Accept", asTable}, 200, `"kind":"Table"`},
		"another content type": {"POST", "", "x", []string{"Content-Type", "text/plain"}, 415, ""},
		"malformed":            {"POST", "", "{", []string{"Content-Type", "application/json"}, 400, "unexpected end of JSON input"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := a.Do(t, c.method, things(group)+c.path, c.body, c.header...); got.Code != c.code || !strings.Contains(got.Body, c.want) {
				t.Errorf("got %d %.300s", got.Code, got.Body)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for accept, kind := range map[string]string{asTable: "Table", asPartial: "PartialObjectMetadata"} {
		events := a.Watch(ctx, t, things(group)+"?watch=1", "Accept", accept)
		if e := <-events; rawapi.At(e, "object.kind") != kind {
			t.Errorf("watched as %s: %s", kind, rawapi.Flat(e))
		}
	}
	cancel()
}

func testPatches(t *testing.T, a *rawapi.API) {
	const group = "patches.test"
	define(t, a, thing(group, "{type: object, properties: {a: {type: integer}, l: {type: array, items: {type: integer}}}}", ""))
	a.Must(t, "POST", things(group), object(group, "x", "{a: 1, l: [1, 2]}"))
	for _, c := range []struct {
		kind, body string
		code       int
		want       string
	}{
		{"json-patch+json", `[{"op":"test","path":"/spec/a","value":1},{"op":"add","path":"/spec/l/1","value":9}]`, 200, `{"a":1,"l":[1,9,2]}`},
		{"json-patch+json", `[{"op":"test","path":"/spec/a","value":2}]`, 422, ""},
		{"merge-patch+json", `{"spec":{"l":[5],"a":null}}`, 200, `{"l":[5]}`},
		{"strategic-merge-patch+json", `{"spec":{"a":1}}`, 415, ""},
		{"apply-patch+yaml", object(group, "x", "{a: 7}"), 200, `{"a":7,"l":[5]}`},
		{"apply-patch+cbor", "", 415, ""},
		{"merge-patch+json", `{"spec":{"a":"x"}}`, 422, ""},
		{"merge-patch+json", `{"metadata":{"name":"y"}}`, 400, ""},
		{"merge-patch+json", `{`, 400, ""},
	} {
		got := a.Do(t, "PATCH", things(group)+"/x?fieldManager=m", c.body+"\n", "Content-Type", "application/"+c.kind)
		if got.Code != c.code || c.want != "" && rawapi.Flat(rawapi.At(got.Object, "spec")) != c.want {
			t.Errorf("%s %s: %d %s", c.kind, c.body, got.Code, got.Body)
		}
	}
	made := a.Must(t, "PATCH", things(group)+"/new?fieldManager=m", object(group, "new", "{a: 7}"), "Content-Type", "application/apply-patch+yaml")
	if made.Code != http.StatusCreated {
		t.Errorf("applied what was not: %d", made.Code)
	}
	if got := a.Do(t, "PATCH", things(group)+"/none", `{}`, "Content-Type", "application/merge-patch+json"); got.Code != http.StatusNotFound {
		t.Errorf("patched what is not: %d", got.Code)
	}
}

// testRequests tries what holds for every resource.
func testRequests(t *testing.T, a *rawapi.API) {
	const group = "requests.test"
	define(t, a, thing(group, "{type: object, properties: {a: {type: integer}}}", ""))
	if got := a.Must(t, "POST", things(group)+"?dryRun=All", object(group, "x", "{}")); rawapi.At(got.Object, "metadata.uid") == nil {
		t.Errorf("dry run: %s", got.Body)
	}
	if got := a.Do(t, "GET", things(group)+"/x", ""); got.Code != http.StatusNotFound || rawapi.At(got.Object, "message") != `things.requests.test "x" not found` {
		t.Errorf("after a dry run: %d %s", got.Code, got.Body)
	}
	generated := a.Must(t, "POST", things(group), strings.Replace(object(group, "x", "{}"), "name: x", "generateName: gen-", 1))
	if name := fmt.Sprint(rawapi.At(generated.Object, "metadata.name")); !strings.HasPrefix(name, "gen-") || len(name) != 9 {
		t.Errorf("generated %s", name)
	}
	made := a.Must(t, "POST", things(group), object(group, "x", "{a: 1}"))
	if got := a.Do(t, "POST", things(group), object(group, "x", "{a: 1}")); got.Code != http.StatusConflict || rawapi.At(got.Object, "reason") != "AlreadyExists" {
		t.Errorf("created twice: %d %s", got.Code, got.Body)
	}
	version := fmt.Sprint(rawapi.At(made.Object, "metadata.resourceVersion"))
	put := func(version, spec string) rawapi.Answer {
		return a.Do(t, "PUT", things(group)+"/x", strings.Replace(object(group, "x", spec), "name: x", "name: x, resourceVersion: '"+version+"'", 1))
	}
	if got := put("", "{a: 2}"); got.Code != http.StatusUnprocessableEntity || !strings.Contains(got.Body, "metadata.resourceVersion: Invalid value: 0: must be specified for an update") {
		t.Errorf("without a version: %d %s", got.Code, got.Body)
	}
	if got := put(version, "{a: 2}"); rawapi.At(got.Object, "metadata.generation") != 2.0 {
		t.Errorf("generation: %s", got.Body)
	}
	if got := put(version, "{a: 3}"); got.Code != http.StatusConflict {
		t.Errorf("with an old version: %d", got.Code)
	}
	if got := a.Do(t, "POST", things(group), strings.Replace(object(group, "other", "{}"), "group/v1", "group/v2", 1), "Content-Type", "application/json"); got.Code != http.StatusBadRequest {
		t.Errorf("YAML as JSON: %d", got.Code)
	}
	if got := a.Do(t, "POST", things(group), strings.Replace(object(group, "Y_", "{}"), "x", "x", 1)); got.Code != http.StatusUnprocessableEntity {
		t.Errorf("a bad name: %d %s", got.Code, got.Body)
	}
	for i := range 5 {
		a.Must(t, "POST", things(group), strings.Replace(object(group, fmt.Sprint("page", i), "{}"), "metadata: {", "metadata: {labels: {page: 'yes'}, ", 1))
	}
	page := a.Must(t, "GET", things(group)+"?limit=2&labelSelector=page%3Dyes", "")
	rest := a.Must(t, "GET", things(group)+"?labelSelector=page%3Dyes&continue="+fmt.Sprint(rawapi.At(page.Object, "metadata.continue")), "")
	if namesOf(page)+"+"+namesOf(rest) != "page0 page1+page2 page3 page4" || rawapi.At(page.Object, "kind") != "ThingList" {
		t.Errorf("pages: %s + %s", namesOf(page), namesOf(rest))
	}
	if got := a.Must(t, "DELETE", things(group)+"?labelSelector=page%3Dyes", ""); rawapi.At(got.Object, "kind") != "ThingList" {
		t.Errorf("deleting the collection: %.200s", got.Body)
	}
	if got := a.Must(t, "GET", things(group)+"?labelSelector=page%3Dyes", ""); namesOf(got) != "" {
		t.Errorf("after the deletion: %s", namesOf(got))
	}
	if got := a.Must(t, "DELETE", things(group)+"/x", ""); rawapi.At(got.Object, "status") != "Success" {
		t.Errorf("deleted: %s", got.Body)
	}
}

func testSubresources(t *testing.T, a *rawapi.API) {
	const group = "subresources.test"
	define(t, a, thing(group, "{type: object, properties: {replicas: {type: integer}}}", "subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}"))
	made := a.Must(t, "POST", things(group), strings.TrimSuffix(object(group, "x", "{replicas: 2}"), "}")+", status: {replicas: 9}}")
	if rawapi.At(made.Object, "status") != nil || rawapi.At(made.Object, "metadata.generation") != 1.0 {
		t.Errorf("status at creation: %s", made.Body)
	}
	merge := func(path, patch string) rawapi.Answer {
		return a.Do(t, "PATCH", things(group)+"/x"+path, patch, "Content-Type", "application/merge-patch+json")
	}
	status := merge("/status", `{"spec":{"replicas":7},"status":{"replicas":1,"selector":"a=b"},"metadata":{"labels":{"c":"d"}}}`)
	if rawapi.Flat(rawapi.At(status.Object, "spec")) != `{"replicas":2}` || rawapi.At(status.Object, "metadata.generation") != 1.0 || rawapi.At(status.Object, "metadata.labels") != nil {
		t.Errorf("through status: %s", status.Body)
	}
	if got := merge("", `{"status":{"replicas":5}}`); rawapi.Flat(rawapi.At(got.Object, "status.replicas")) != "1" {
		t.Errorf("status through the object: %s", got.Body)
	}
	scale := a.Must(t, "GET", things(group)+"/x/scale", "")
	if rawapi.Flat(rawapi.At(scale.Object, "spec")) != `{"replicas":2}` || rawapi.Flat(rawapi.At(scale.Object, "status")) != `{"replicas":1,"selector":"a=b"}` || scale.Object["apiVersion"] != "autoscaling/v1" {
		t.Errorf("scale: %s", scale.Body)
	}
	if got := merge("/scale", `{"spec":{"replicas":4}}`); rawapi.Flat(rawapi.At(got.Object, "spec.replicas")) != "4" {
		t.Errorf("scaled: %s", got.Body)
	}
	if got := a.Must(t, "GET", things(group)+"/x", ""); rawapi.Flat(rawapi.At(got.Object, "spec.replicas")) != "4" || rawapi.At(got.Object, "metadata.generation") != 2.0 {
		t.Errorf("after scaling: %s", got.Body)
	}
	if got := merge("/scale", `{"spec":{"replicas":-1}}`); got.Code != http.StatusUnprocessableEntity {
		t.Errorf("scaled below nothing: %d %s", got.Code, got.Body)
	}
	if got := a.Do(t, "GET", things(group)+"/x/other", ""); got.Code != http.StatusNotFound {
		t.Errorf("another subresource: %d", got.Code)
	}
}

func testDeprecation(t *testing.T, a *rawapi.API) {
	const group = "deprecation.test"
	manifest := thing(group, "{type: object}", "deprecated: true")
	define(t, a, manifest)
	warned := func() string { return a.Must(t, "GET", things(group), "").Header.Get("Warning") }
	if w := warned(); w != `299 - "deprecation.test/v1 Thing is deprecated"` {
		t.Errorf("warned %s", w)
	}
	a.Must(t, "PATCH", crds+"/things."+group, `[{"op":"add","path":"/spec/versions/0/deprecationWarning","value":"use boats"}]`, "Content-Type", "application/json-patch+json")
	rawapi.Eventually(t, "the own warning is sent", func() (bool, string) { w := warned(); return w == `299 - "use boats"`, w })
}

// testPublishing looks for a definition where clients look: discovery in both
// forms, OpenAPI v2 and v3.
func testPublishing(t *testing.T, a *rawapi.API) {
	const group = "publishing.test"
	manifest := strings.Replace(thing(group, "{type: object, description: wishes, properties: {port: {x-kubernetes-int-or-string: true}, l: {type: array, x-kubernetes-list-type: set, items: {type: string}}}}", "subresources: {status: {}}"), "kind: Thing,", "kind: Thing, shortNames: [th], categories: [all],", 1)
	define(t, a, manifest)
	var plain rawapi.Answer
	rawapi.Eventually(t, "discovery has it", func() (bool, string) {
		plain = a.Do(t, "GET", "/apis/"+group+"/v1", "")
		return plain.Code == http.StatusOK, plain.Body
	})
	hash := fmt.Sprint(rawapi.At(plain.Object, "resources.0.storageVersionHash"))
	if raw, err := base64.StdEncoding.DecodeString(hash); err != nil || len(raw) != 8 {
		t.Errorf("storage version hash %s", hash)
	}
	want := `{"categories":["all"],"kind":"Thing","name":"things","namespaced":true,"shortNames":["th"],"singularName":"thing","storageVersionHash":"` + hash + `","verbs":["delete","deletecollection","get","list","patch","create","update","watch"]}`
	if got := rawapi.Flat(rawapi.At(plain.Object, "resources.0")); got != want {
		t.Errorf("discovery: %s\nwant %s", got, want)
	}
	rawapi.Eventually(t, "aggregated discovery has it", func() (bool, string) {
		got := a.Must(t, "GET", "/apis", "", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		items, _ := got.Object["items"].([]any)
		for _, item := range items {
			if rawapi.At(item, "metadata.name") == group {
				return rawapi.At(item, "versions.0.resources.0.resource") == "things" && rawapi.At(item, "versions.0.resources.0.subresources.0.subresource") == "status" && rawapi.At(item, "versions.0.freshness") == "Current", rawapi.Flat(item)
			}
		}
		return false, fmt.Sprint(len(items), " groups")
	})
	rawapi.Eventually(t, "the list of groups has it", func() (bool, string) {
		got := a.Must(t, "GET", "/apis", "")
		return strings.Contains(got.Body, `"name":"`+group+`"`), got.Body
	})
	rawapi.Eventually(t, "OpenAPI v3 has it", func() (bool, string) {
		got := a.Do(t, "GET", "/openapi/v3/apis/"+group+"/v1", "")
		schemas, _ := rawapi.At(got.Object, "components.schemas").(map[string]any)
		s, ok := schemas["test.publishing.v1.Thing"].(map[string]any)
		return ok && rawapi.At(s, "properties.spec.description") == "wishes" && rawapi.At(s, "properties.spec.properties.l.x-kubernetes-list-type") == "set" &&
			rawapi.Flat(s["x-kubernetes-group-version-kind"]) == `[{"group":"publishing.test","kind":"Thing","version":"v1"}]`, got.Body
	})
	rawapi.Eventually(t, "OpenAPI v2 has it", func() (bool, string) {
		got := a.Must(t, "GET", "/openapi/v2", "")
		definitions, _ := got.Object["definitions"].(map[string]any)
		s, ok := definitions["test.publishing.v1.Thing"].(map[string]any)
		return ok && rawapi.At(s, "properties.spec.description") == "wishes", fmt.Sprint(len(definitions), " definitions")
	})
	a.Must(t, "DELETE", crds+"/things."+group, "")
	rawapi.Eventually(t, "all of it is gone", func() (bool, string) {
		v3, v2, groups := a.Do(t, "GET", "/openapi/v3", ""), a.Must(t, "GET", "/openapi/v2", ""), a.Must(t, "GET", "/apis", "")
		return !strings.Contains(v3.Body+groups.Body, group) && !strings.Contains(v2.Body, "test.publishing."), v3.Body
	})
}

func testExplain(t *testing.T, a *rawapi.API, kubeconfig string) {
	const group = "explain.test"
	define(t, a, thing(group, "{type: object, description: what is wished, properties: {port: {x-kubernetes-int-or-string: true, description: where}, l: {type: array, items: {type: string}}}}", ""))
	kubectl := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), cluster.Binary(t, "build/clients/kubectl"), append([]string{"--kubeconfig", kubeconfig, "--cache-dir", t.TempDir()}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return string(out)
	}
	rawapi.Eventually(t, "kubectl explains", func() (bool, string) {
		got := kubectl("explain", "things.spec", "--api-version=explain.test/v1")
		return strings.Contains(got, "what is wished") && strings.Contains(got, "port\t<Object>") && strings.Contains(got, "l\t<[]string>"), got
	})
	got := kubectl("get", "crd", "things."+group)
	if !strings.HasPrefix(got, "NAME") || !strings.Contains(got, "CREATED AT") {
		t.Errorf("kubectl get crd: %s", got)
	}
	got = kubectl("get", "apiservices", "v1."+group, "v1.apps")
	if lines := strings.Split(got, "\n"); strings.Join(strings.Fields(lines[0]), " ") != "NAME SERVICE AVAILABLE AGE" || !strings.Contains(lines[1], "Local") || !strings.Contains(lines[1], "True") {
		t.Errorf("kubectl get apiservices: %s", got)
	}
}
