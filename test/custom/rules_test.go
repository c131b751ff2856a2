package custom

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"skiff/test/rawapi"
)

const ruled = `
type: object
x-kubernetes-validations:
- {rule: self.low <= self.high, messageExpression: "'low is above high' + (self.low > 20 ? ' by far' : '')", fieldPath: .low, reason: FieldValueForbidden}
- {rule: "!has(self.kind) || self.kind != 'bad'", message: kind is bad}
- {rule: "self.high >= oldSelf.high", message: high may only grow}
properties:
  low: {type: integer, default: 0}
  high: {type: integer, default: 10}
  kind: {type: string, maxLength: 10}
  fixed:
    type: string
    maxLength: 10
    x-kubernetes-validations: [{rule: self == oldSelf, message: fixed is immutable}]
  once:
    type: string
    maxLength: 10
    x-kubernetes-validations: [{rule: "!oldSelf.hasValue() || oldSelf.value() == self", optionalOldSelf: true, message: once is set once}, {rule: "oldSelf.hasValue() || self != 'late'", optionalOldSelf: true, message: not late}]
  at: {type: string, format: date-time, x-kubernetes-validations: [{rule: "self < timestamp('2030-01-01T00:00:00Z')"}]}
  amount: {type: string, maxLength: 20, x-kubernetes-validations: [{rule: "isQuantity(self) && quantity(self).isGreaterThan(quantity('1Mi'))"}]}
  from: {type: string, maxLength: 40, x-kubernetes-validations: [{rule: "!isCIDR(self) || cidr(self).containsIP('10.0.0.1')"}]}
`

// testRules follows the life of objects through rules in CEL.
func testRules(t *testing.T, a *rawapi.API) {
	const group = "rules.test"
	define(t, a, thing(group, ruled, ""))
	a.Must(t, "POST", things(group), object(group, "x", "{fixed: a, once: a}"))
	for name, c := range map[string]struct{ method, spec, want string }{
		"message expression": {"POST", "{low: 11}", "spec.low: Forbidden: low is above high"},
		"message":            {"POST", "{kind: bad}", `spec: Invalid value: kind is bad`},
		"no message":         {"POST", "{at: '2031-01-01T00:00:00Z'}", `spec.at: Invalid value: "2031-01-01T00:00:00Z": failed rule: self < timestamp('2030-01-01T00:00:00Z')`},
		"quantity":           {"POST", "{amount: 5k}", `spec.amount: Invalid value: "5k": failed rule: isQuantity(self)`},
		"cidr":               {"POST", "{from: 192.168.0.0/16}", `spec.from: Invalid value: "192.168.0.0/16": failed rule: !isCIDR(self)`},
		"no transition":      {"POST", "{high: 1}", ""},
		"transition":         {"PATCH", "{high: 9}", "spec: Invalid value: high may only grow"},
		"grown":              {"PATCH", "{high: 11}", ""},
		"immutable":          {"PATCH", "{fixed: b}", `spec.fixed: Invalid value: "b": fixed is immutable`},
		"removed":            {"PATCH", "{fixed: null}", ""},
		"once":               {"PATCH", "{once: b}", `spec.once: Invalid value: "b": once is set once`},
		"optional old":       {"POST", "{once: late}", `spec.once: Invalid value: "late": not late`},
	} {
		t.Run(name, func(t *testing.T) {
			var got rawapi.Answer
			if c.method == "POST" {
				got = a.Do(t, "POST", things(group)+"?dryRun=All", object(group, "other", c.spec))
			} else {
				got = a.Do(t, "PATCH", things(group)+"/x?dryRun=All", jsonOf(t, "{spec: "+c.spec+"}"), "Content-Type", "application/merge-patch+json")
			}
			message := fmt.Sprint(got.Object["message"])
			if c.want == "" && got.Code >= 300 || c.want != "" && (got.Code != http.StatusUnprocessableEntity || !strings.Contains(message, c.want)) {
				t.Errorf("got %d %s\nwant %s", got.Code, message, c.want)
			}
		})
	}
}

// testRatcheting tightens a schema under an object: what doesn't change stays
// valid, what changes must follow.
func testRatcheting(t *testing.T, a *rawapi.API) {
	const group = "ratcheting.test"
	define(t, a, thing(group, "{type: object, properties: {a: {type: string}, b: {type: string}, list: {type: array, items: {type: string}}}}", ""))
	a.Must(t, "POST", things(group), object(group, "x", "{a: long, b: long, list: [long]}"))
	patch := `[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec","value":` +
		jsonOf(t, "{type: object, properties: {a: {type: string, maxLength: 2}, b: {type: string, maxLength: 9, x-kubernetes-validations: [{rule: self != 'long'}]}, list: {type: array, items: {type: string, maxLength: 2}}}}") + `}]`
	a.Must(t, "PATCH", crds+"/things."+group, patch, "Content-Type", "application/json-patch+json")
	rawapi.Eventually(t, "the tighter schema holds", func() (bool, string) {
		got := a.Do(t, "POST", things(group)+"?dryRun=All", object(group, "other", "{a: long}"))
		return got.Code == http.StatusUnprocessableEntity, got.Body
	})
	for patch, ok := range map[string]bool{
		`{"metadata":{"labels":{"x":"y"}}}`: true,
		`{"spec":{"b":"ok"}}`:               true,
		`{"spec":{"a":"more"}}`:             false,
		`{"spec":{"a":"x"}}`:                true,
		`{"spec":{"list":["long","x"]}}`:    false,
	} {
		if got := a.Do(t, "PATCH", things(group)+"/x?dryRun=All", patch, "Content-Type", "application/merge-patch+json"); (got.Code == http.StatusOK) != ok {
			t.Errorf("%s: %d %s", patch, got.Code, got.Body)
		}
	}
}

const lists = `
type: object
properties:
  byKey: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name, port], items: {type: object, required: [name], properties: {name: {type: string}, port: {type: integer, default: 80}, value: {type: string}}}}
  unique: {type: array, x-kubernetes-list-type: set, items: {type: string}}
  whole: {type: array, x-kubernetes-list-type: atomic, items: {type: string}}
  one: {type: object, x-kubernetes-map-type: atomic, properties: {a: {type: string}, b: {type: string}}}
  each: {type: object, properties: {a: {type: string}, b: {type: string}}}
`

// testListTypes lets two managers apply to lists and maps of every kind.
func testListTypes(t *testing.T, a *rawapi.API) {
	const group = "lists.test"
	define(t, a, thing(group, lists, ""))
	apply := func(manager, spec string) rawapi.Answer {
		return a.Do(t, "PATCH", things(group)+"/x?fieldManager="+manager, object(group, "x", spec), "Content-Type", "application/apply-patch+yaml")
	}
	for _, c := range []struct{ manager, spec, want string }{
		{"a", "{byKey: [{name: a, value: '1'}], unique: [a], one: {a: x}, each: {a: x}}", `{"byKey":[{"name":"a","port":80,"value":"1"}],"each":{"a":"x"},"one":{"a":"x"},"unique":["a"]}`},
		{"b", "{byKey: [{name: a, port: 81}, {name: b}], unique: [b], each: {b: z}}", `{"byKey":[{"name":"a","port":80,"value":"1"},{"name":"a","port":81},{"name":"b","port":80}],"each":{"a":"x","b":"z"},"one":{"a":"x"},"unique":["a","b"]}`},
		{"b", "{one: {b: z}}", `! conflict with "a": .spec.one`},
		{"b", "{byKey: [{name: a, value: '2'}]}", `! conflict with "a": .spec.byKey[name="a",port=80].value`},
		{"a", "{}", `{"byKey":[{"name":"a","port":81},{"name":"b","port":80}],"each":{"b":"z"},"unique":["b"]}`},
	} {
		got := apply(c.manager, c.spec)
		if want, bad := strings.CutPrefix(c.want, "! "); bad {
			if message := fmt.Sprint(got.Object["message"]); got.Code != http.StatusConflict || !strings.Contains(message, want) {
				t.Errorf("%s applies %s: %d %s, want %s", c.manager, c.spec, got.Code, message, want)
			}
		} else if spec := rawapi.Flat(rawapi.At(got.Object, "spec")); spec != c.want {
			t.Errorf("%s applies %s: %d %s\nwant %s\n%v", c.manager, c.spec, got.Code, spec, c.want, got.Object["message"])
		}
	}
	for spec, want := range map[string]string{
		"{byKey: [{name: a}, {name: a, port: 80}]}": `spec.byKey[1]: Duplicate value: {"name":"a","port":80}`,
		"{unique: [a, a]}":                          `spec.unique[1]: Duplicate value: "a"`,
		"{byKey: [{port: 1}]}":                      "spec.byKey[0].name: Required value",
	} {
		if got := a.Do(t, "POST", things(group), object(group, "other", spec)); got.Code != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(got.Object["message"]), want) {
			t.Errorf("%s: %d %v, want %s", spec, got.Code, got.Object["message"], want)
		}
	}
}
