package custom

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"skiff/test/rawapi"
)

const condition = "status.conditions"

// conditions maps the types of the definition's conditions to "status reason".
func conditions(crd map[string]any) map[string]string {
	out := map[string]string{}
	list, _ := rawapi.At(crd, condition).([]any)
	for _, c := range list {
		out[fmt.Sprint(rawapi.At(c, "type"))] = fmt.Sprintf("%v %v", rawapi.At(c, "status"), rawapi.At(c, "reason"))
	}
	return out
}

// testNames makes two definitions want one name: the second gets the rest when
// the first goes.
func testNames(t *testing.T, a *rawapi.API) {
	const group = "names.test"
	first := strings.Replace(thing(group, "{type: object}", ""), "kind: Thing,", "kind: Thing, shortNames: [th], categories: [stuff, all],", 1)
	define(t, a, first)
	var got rawapi.Answer
	rawapi.Eventually(t, "the definition is established", func() (bool, string) {
		got = a.Must(t, "GET", crds+"/things."+group, "")
		c := conditions(got.Object)
		return c["NamesAccepted"] == "True NoConflicts" && c["Established"] == "True InitialNamesAccepted", got.Body
	})
	if names := rawapi.Flat(rawapi.At(got.Object, "status.acceptedNames")); names != `{"categories":["stuff","all"],"kind":"Thing","listKind":"ThingList","plural":"things","shortNames":["th"],"singular":"thing"}` {
		t.Errorf("accepted names: %s", names)
	}
	if v := rawapi.Flat(rawapi.At(got.Object, "status.storedVersions")); v != `["v1"]` {
		t.Errorf("stored versions: %s", v)
	}
	second := strings.NewReplacer("name: things.", "name: others.", "plural: things, singular: thing, kind: Thing, listKind: ThingList", "plural: others, singular: other, kind: Other, listKind: OtherList, shortNames: [th]").Replace(thing(group, "{type: object}", ""))
	a.Must(t, "POST", crds, asCRD+second)
	rawapi.Eventually(t, "the short name is refused", func() (bool, string) {
		crd := a.Must(t, "GET", crds+"/others."+group, "")
		c := conditions(crd.Object)
		return c["NamesAccepted"] == "False ShortNamesConflict" && c["Established"] == "False NotAccepted" && strings.Contains(crd.Body, `\"th\" is already in use`), crd.Body
	})
	if got := a.Do(t, "GET", "/apis/"+group+"/v1/others", ""); got.Code != http.StatusNotFound {
		t.Errorf("others before acceptance: %d", got.Code)
	}
	a.Must(t, "DELETE", crds+"/things."+group, "")
	rawapi.Eventually(t, "the second is established", func() (bool, string) {
		got := a.Do(t, "GET", "/apis/"+group+"/v1/others", "")
		return got.Code == http.StatusOK, got.Body
	})
}

// testDeletion deletes a definition under an object that a finalizer holds.
func testDeletion(t *testing.T, a *rawapi.API) {
	const group = "deletion.test"
	define(t, a, thing(group, "{type: object}", ""))
	a.Must(t, "POST", things(group), object(group, "free", "{}"))
	a.Must(t, "POST", things(group), strings.Replace(object(group, "held", "{}"), "name: held", "name: held, finalizers: [x.test/hold]", 1))
	if got := a.Must(t, "GET", crds+"/things."+group, ""); rawapi.Flat(rawapi.At(got.Object, "metadata.finalizers")) != "null" {
		t.Errorf("finalizers before: %s", got.Body)
	}
	got := a.Must(t, "DELETE", crds+"/things."+group, "")
	if rawapi.Flat(rawapi.At(got.Object, "metadata.finalizers")) != `["customresourcecleanup.apiextensions.k8s.io"]` {
		t.Errorf("finalizers: %s", got.Body)
	}
	rawapi.Eventually(t, "only the held object is left", func() (bool, string) {
		got := a.Do(t, "GET", things(group), "")
		items, _ := got.Object["items"].([]any)
		return len(items) == 1 && rawapi.At(items[0], "metadata.deletionTimestamp") != nil, got.Body
	})
	rawapi.Eventually(t, "the definition is terminating", func() (bool, string) {
		got := a.Must(t, "GET", crds+"/things."+group, "")
		return strings.HasPrefix(conditions(got.Object)["Terminating"], "True Instance"), got.Body
	})
	if got := a.Do(t, "POST", things(group), object(group, "late", "{}")); got.Code != http.StatusForbidden || !strings.Contains(got.Body, "create not allowed while custom resource definition is terminating") {
		t.Errorf("created while terminating: %d %s", got.Code, got.Body)
	}
	a.Must(t, "PATCH", things(group)+"/held", `{"metadata":{"finalizers":null}}`, "Content-Type", "application/merge-patch+json")
	rawapi.Eventually(t, "the definition is gone", func() (bool, string) {
		got := a.Do(t, "GET", crds+"/things."+group, "")
		return got.Code == http.StatusNotFound, got.Body
	})
	rawapi.Eventually(t, "the path is gone", func() (bool, string) {
		got, group := a.Do(t, "GET", things(group), ""), a.Do(t, "GET", "/apis/"+group, "")
		return got.Code == http.StatusNotFound && group.Code == http.StatusNotFound, got.Body + group.Body
	})
	define(t, a, thing(group, "{type: object}", ""))
	if got := a.Must(t, "GET", things(group), ""); rawapi.Flat(got.Object["items"]) != "[]" {
		t.Errorf("a new definition shows %s", got.Body)
	}
}

// testWatches changes a definition under a watch: it ends, and a client that
// lists again goes on under the new schema.
func testWatches(t *testing.T, a *rawapi.API) {
	const group = "watches.test"
	define(t, a, thing(group, "{type: object, properties: {a: {type: integer}}}", ""))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	list := a.Must(t, "GET", things(group), "")
	events := a.Watch(ctx, t, things(group)+"?watch=1&resourceVersion="+fmt.Sprint(rawapi.At(list.Object, "metadata.resourceVersion")))
	a.Must(t, "POST", things(group), object(group, "one", "{a: 1, b: 2}"))
	e := <-events
	if e["type"] != "ADDED" || rawapi.Flat(rawapi.At(e, "object.spec")) != `{"a":1}` {
		t.Fatalf("first event: %s", rawapi.Flat(e))
	}
	a.Must(t, "PATCH", crds+"/things."+group, `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/b","value":{"type":"integer"}}]`, "Content-Type", "application/json-patch+json")
	for e := range events {
		t.Errorf("after the change: %s", rawapi.Flat(e))
	}
	rawapi.Eventually(t, "the new schema holds", func() (bool, string) {
		got := a.Must(t, "POST", things(group)+"?dryRun=All", object(group, "two", "{b: 2}"))
		return rawapi.Flat(rawapi.At(got.Object, "spec")) == `{"b":2}`, got.Body
	})
	list = a.Must(t, "GET", things(group), "")
	a.Must(t, "POST", things(group), object(group, "two", "{b: 2}"))
	events = a.Watch(ctx, t, things(group)+"?watch=1&resourceVersion="+fmt.Sprint(rawapi.At(list.Object, "metadata.resourceVersion")))
	if e = <-events; e["type"] != "ADDED" || rawapi.Flat(rawapi.At(e, "object.spec")) != `{"b":2}` {
		t.Errorf("resumed: %s", rawapi.Flat(e))
	}
	a.Must(t, "DELETE", crds+"/things."+group, "")
	for e := range events {
		if e["type"] != "DELETED" {
			t.Errorf("while the definition goes: %s", rawapi.Flat(e))
		}
	}
}

func testSelectableFields(t *testing.T, a *rawapi.API) {
	const group = "selectable.test"
	define(t, a, thing(group, "{type: object, properties: {color: {type: string}, size: {type: integer}, lit: {type: boolean}}}", "selectableFields: [{jsonPath: .spec.color}, {jsonPath: .spec.size}, {jsonPath: .spec.lit}]"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := a.Watch(ctx, t, things(group)+"?watch=1&fieldSelector=spec.color%3Dred")
	for i, spec := range []string{"{color: blue, size: 1, lit: true}", "{color: red, size: 1}", "{color: red, size: 2}"} {
		a.Must(t, "POST", things(group), object(group, fmt.Sprint("t", i), spec))
	}
	for selector, want := range map[string]string{
		"spec.color=red": "t1 t2", "spec.color!=red": "t0", "spec.size=1,spec.color=red": "t1", "spec.lit=true": "t0", "spec.color=": "", "metadata.name=t2": "t2",
	} {
		got := a.Must(t, "GET", things(group)+"?fieldSelector="+strings.ReplaceAll(selector, "=", "%3D"), "")
		if names := namesOf(got); names != want {
			t.Errorf("%s: %q, want %q", selector, names, want)
		}
	}
	if got := a.Do(t, "GET", things(group)+"?fieldSelector=spec.other%3D1", ""); got.Code != http.StatusBadRequest || !strings.Contains(got.Body, `field label not supported: spec.other`) {
		t.Errorf("another field: %d %s", got.Code, got.Body)
	}
	a.Must(t, "PATCH", things(group)+"/t1", `{"spec":{"color":"blue"}}`, "Content-Type", "application/merge-patch+json")
	var seen []string
	for len(seen) < 3 {
		e := <-events
		seen = append(seen, fmt.Sprint(e["type"], " ", rawapi.At(e, "object.metadata.name")))
	}
	if rawapi.Flat(seen) != `["ADDED t1","ADDED t2","DELETED t1"]` {
		t.Errorf("watched %v", seen)
	}
}

func namesOf(list rawapi.Answer) string {
	items, _ := list.Object["items"].([]any)
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = fmt.Sprint(rawapi.At(item, "metadata.name"))
	}
	return strings.Join(names, " ")
}

// testEventsByName defines a resource with the name of a built-in one.
func testEventsByName(t *testing.T, a *rawapi.API) {
	const group = "events.test"
	define(t, a, strings.NewReplacer("name: things.", "name: events.", "plural: things", "plural: events").Replace(thing(group, "{type: object}", "")))
	path := "/apis/" + group + "/v1/namespaces/team/events"
	a.Must(t, "POST", path, object(group, "x", "{}"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := a.Watch(ctx, t, path+"?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan")
	if e := <-events; e["type"] != "ADDED" || rawapi.At(e, "object.metadata.name") != "x" {
		t.Errorf("a streamed list: %s", rawapi.Flat(e))
	}
	if e := <-events; e["type"] != "BOOKMARK" || rawapi.At(e, "object.metadata.annotations") == nil {
		t.Errorf("the end of a streamed list: %s", rawapi.Flat(e))
	}
}

// testEmptyLists stores a definition and reads it back: what was empty stays so.
func testEmptyLists(t *testing.T, a *rawapi.API) {
	const group = "empty.test"
	manifest := strings.Replace(thing(group, "{type: object, required: [], properties: {}}", "additionalPrinterColumns: []"), "kind: Thing,", "kind: Thing, shortNames: [], categories: [],", 1)
	a.Must(t, "POST", crds, asCRD+manifest)
	got := a.Must(t, "GET", crds+"/things."+group, "")
	for path, want := range map[string]string{"spec.names.shortNames": "null", "spec.versions.0.schema.openAPIV3Schema.properties.spec": `{"type":"object"}`} {
		if v := rawapi.Flat(rawapi.At(got.Object, path)); v != want {
			t.Errorf("%s is %s, want %s", path, v, want)
		}
	}
	define(t, a, strings.Replace(thing("emptyitems.test", "{type: object, properties: {a: {type: array, items: {type: string}}}}", ""), "x", "x", 1))
	made := a.Must(t, "POST", things("emptyitems.test"), object("emptyitems.test", "x", "{a: []}"))
	if v := rawapi.Flat(rawapi.At(made.Object, "spec")); v != `{"a":[]}` {
		t.Errorf("an empty list of an object: %s", v)
	}
}
