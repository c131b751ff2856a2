package custom

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"skiff/test/rawapi"
)

// testRefused holds definitions that may not be created, with the causes.
func testRefused(t *testing.T, a *rawapi.API) {
	const spec = "spec.validation.openAPIV3Schema.properties[spec]"
	for name, c := range map[string]struct{ schema, more, want string }{
		"no type":               {"{properties: {a: {type: string}}}", "", spec + ".type: Required value: must not be empty for specified object fields"},
		"type in junctor":       {"{type: object, anyOf: [{type: object}]}", "", spec + ".anyOf[0].type: Forbidden: must be empty to be structural"},
		"ref":                   {"{type: object, $ref: '#/x'}", "", "$ref: Forbidden: $ref is not supported"},
		"two shapes":            {"{type: object, properties: {a: {type: string}}, additionalProperties: {type: string}}", "", "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"},
		"uniqueItems":           {"{type: array, uniqueItems: true, items: {type: string}}", "", "uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"},
		"wrong default":         {"{type: object, properties: {a: {type: integer, default: x}}}", "", `properties[a].default: Invalid value: "string":  in body must be of type integer: "string"`},
		"pruned default":        {"{type: object, default: {x: 1}, properties: {a: {type: integer}}}", "", `default: Invalid value: {"x":1}: must not have unknown fields`},
		"map without keys":      {"{type: array, x-kubernetes-list-type: map, items: {type: object, properties: {k: {type: string}}}}", "", "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"},
		"optional key":          {"{type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {k: {type: string}}}}", "", "k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"},
		"set of lists":          {"{type: array, x-kubernetes-list-type: set, items: {type: array, x-kubernetes-list-type: map, items: {type: string}}}", "", "items.x-kubernetes-list-type: Invalid value: \"map\": must be atomic as item of a list with x-kubernetes-list-type=set"},
		"embedded without kind": {"{type: object, x-kubernetes-embedded-resource: true}", "", "properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"},
		"CEL syntax":            {"{type: object, x-kubernetes-validations: [{rule: 'self.a ='}]}", "", "x-kubernetes-validations[0].rule: Invalid value"},
		"CEL type":              {"{type: object, properties: {a: {type: string}}, x-kubernetes-validations: [{rule: self.a + 1 == 2}]}", "", "found no matching overload for '_+_' applied to '(string, int)'"},
		"CEL not bool":          {"{type: object, properties: {a: {type: string}}, x-kubernetes-validations: [{rule: self.a}]}", "", "cel expression must evaluate to a bool"},
		"CEL cost": {
			"{type: object, properties: {a: {type: array, items: {type: array, items: {type: string, x-kubernetes-validations: [{rule: self.matches('^x+$')}]}}}}}", "",
			"rule: Forbidden: estimated rule cost exceeds budget by factor of",
		},
		"CEL cost of one": {
			"{type: object, properties: {a: {type: array, items: {type: string}}}, x-kubernetes-validations: [{rule: 'self.a.all(x, self.a.all(y, x == y || x != y))'}]}", "",
			"rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
		},
		"messageExpression":     {"{type: object, x-kubernetes-validations: [{rule: 'true', messageExpression: '1'}]}", "", "messageExpression must evaluate to a string"},
		"optionalOldSelf alone": {"{type: object, x-kubernetes-validations: [{rule: 'true', optionalOldSelf: true}]}", "", "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"},
		"oldSelf in a list":     {"{type: array, x-kubernetes-list-type: atomic, items: {type: string, x-kubernetes-validations: [{rule: self == oldSelf}]}}", "", "oldSelf cannot be used on the uncorrelatable portion of the schema"},
		"column type":           {"{type: object}", "additionalPrinterColumns: [{name: A, type: text, jsonPath: .spec.a}]", `type: Invalid value: "text": must be one of boolean,date,integer,number,string`},
		"column path":           {"{type: object}", "additionalPrinterColumns: [{name: A, type: string, jsonPath: spec.a}]", `JSONPath: Invalid value: "spec.a": must be a simple json path starting with .`},
		"scale path":            {"{type: object}", "subresources: {scale: {specReplicasPath: .status.replicas, statusReplicasPath: .status.replicas}}", `specReplicasPath: Invalid value: ".status.replicas": should be a json path under .spec`},
		"selectable path":       {"{type: object}", "selectableFields: [{jsonPath: .spec.none}]", `jsonPath: Invalid value: ".spec.none": is an invalid path: does not refer to a valid field`},
		"deprecation":           {"{type: object}", "deprecationWarning: gone", `deprecationWarning: Invalid value: "gone": can only be set for deprecated versions`},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.Do(t, "POST", crds+"?dryRun=All", asCRD+thing("refused.test", c.schema, c.more))
			if message := fmt.Sprint(got.Object["message"]); got.Code != http.StatusUnprocessableEntity || !strings.Contains(message, c.want) {
				t.Errorf("got %d %s\nwant %s", got.Code, message, c.want)
			}
		})
	}
	unapproved := a.Must(t, "POST", crds, asCRD+strings.Replace(thing("x.k8s.io", "{type: object}", ""), "metadata: {", "metadata: {annotations: {api-approved.kubernetes.io: 'unapproved, a test'}, ", 1))
	if rawapi.At(unapproved.Object, "metadata.name") != "things.x.k8s.io" {
		t.Errorf("a protected group with its annotation: %s", unapproved.Body)
	}
	got := a.Do(t, "POST", crds+"?dryRun=All", asCRD+thing("y.k8s.io", "{type: object}", ""))
	if got.Code != http.StatusUnprocessableEntity || !strings.Contains(got.Body, "protected groups must have approval annotation") {
		t.Errorf("a protected group: %d %s", got.Code, got.Body)
	}
}

// values is the schema that testValues tries; each property is one feature.
const values = `
type: object
properties:
  number: {type: integer, minimum: 1, maximum: 10, multipleOf: 2}
  word: {type: string, pattern: '^[a-z]+$', minLength: 2, maxLength: 4}
  choice: {type: string, enum: [a, b]}
  port: {x-kubernetes-int-or-string: true}
  maybe: {type: string, nullable: true, default: x}
  never: {type: string, default: x}
  nested: {type: object, default: {}, properties: {a: {type: integer, default: 1}, b: {type: object, properties: {c: {type: string, default: z}}}}}
  many: {type: array, minItems: 1, maxItems: 2, items: {type: object, properties: {d: {type: boolean, default: true}}}}
  labels: {type: object, maxProperties: 1, additionalProperties: {type: string}}
  embedded: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
  open: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {closed: {type: object, properties: {e: {type: integer}}}}}
  both: {type: object, anyOf: [{required: [f]}, {required: [g]}], not: {required: [h]}, properties: {f: {type: string}, g: {type: string}, h: {type: string}}}
  stamp: {type: string, format: date-time}
  bytes: {type: string, format: byte}
  ip: {type: string, format: ipv4}
  long: {type: string, format: duration}
  small: {type: integer, format: int32}
  id: {type: string, format: uuid}
required: []
`

func testValues(t *testing.T, a *rawapi.API) {
	const group = "values.test"
	define(t, a, thing(group, values, ""))
	for name, c := range map[string]struct{ spec, want string }{
		"defaults":         {"{}", `{"maybe":"x","nested":{"a":1},"never":"x"}`},
		"null":             {"{maybe: null, never: null, nested: {b: {}}}", `{"maybe":null,"nested":{"a":1,"b":{"c":"z"}},"never":"x"}`},
		"in a list":        {"{many: [{}, {d: false}]}", `{"many":[{"d":true},{"d":false}],"maybe":"x","nested":{"a":1},"never":"x"}`},
		"pruned":           {"{other: 1, nested: {a: 2, z: 1}}", `{"maybe":"x","nested":{"a":2},"never":"x"}`},
		"kept":             {"{open: {x: {w: [1]}, closed: {e: 1, z: 2}}}", `{"maybe":"x","nested":{"a":1},"never":"x","open":{"closed":{"e":1},"x":{"w":[1]}}}`},
		"port number":      {"{port: 80}", `{"maybe":"x","nested":{"a":1},"never":"x","port":80}`},
		"port name":        {"{port: http}", `{"maybe":"x","nested":{"a":1},"never":"x","port":"http"}`},
		"port object":      {"{port: {}}", "! spec.port: Invalid value: \"object\": spec.port in body must be of type integer,string: \"object\""},
		"too big":          {"{number: 11}", "! spec.number: Invalid value: 11: spec.number in body should be less than or equal to 10"},
		"too small":        {"{number: 0}", "! spec.number in body should be greater than or equal to 1"},
		"no multiple":      {"{number: 3}", "! spec.number in body should be a multiple of 2"},
		"fraction":         {"{number: 2.5}", "! spec.number in body must be of type integer: \"number\""},
		"pattern":          {"{word: ABC}", "! spec.word in body should match '^[a-z]+$'"},
		"short":            {"{word: a}", "! spec.word in body should be at least 2 chars long"},
		"long word":        {"{word: abcde}", "! spec.word: Too long: may not be more than 4 bytes"},
		"enum":             {"{choice: c}", `! spec.choice: Unsupported value: "c": supported values: "a", "b"`},
		"no items":         {"{many: []}", "! spec.many in body should have at least 1 items"},
		"many items":       {"{many: [{}, {}, {}]}", "! spec.many: Too many: 3: must have at most 2 items"},
		"many properties":  {"{labels: {a: b, c: d}}", "! spec.labels: Too many: 2: must have at most 1 item"},
		"value of a map":   {"{labels: {a: 1}}", "! spec.labels.a in body must be of type string: \"integer\""},
		"embedded":         {"{embedded: {apiVersion: v1, kind: Pod, metadata: {name: p, x: 1}, spec: {q: 1}}}", `{"embedded":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"q":1}},"maybe":"x","nested":{"a":1},"never":"x"}`},
		"embedded kind":    {"{embedded: {apiVersion: v1}}", "! spec.embedded.kind: Required value"},
		"embedded name":    {"{embedded: {apiVersion: v1, kind: Pod, metadata: {name: 1}}}", "!"},
		"any of none":      {"{both: {}}", "! spec.both"},
		"not":              {"{both: {f: x, h: x}}", "! must not validate the schema (not)"},
		"format date-time": {"{stamp: yesterday}", "! spec.stamp in body must be of type date-time: \"yesterday\""},
		"format byte":      {"{bytes: '?'}", "! spec.bytes in body must be of type byte"},
		"format ipv4":      {"{ip: '::1'}", "! spec.ip in body must be of type ipv4"},
		"format duration":  {"{long: x}", "! spec.long in body must be of type duration"},
		"format uuid":      {"{id: x}", "! spec.id in body must be of type uuid"},
		"good formats":     {"{stamp: '2020-01-01T00:00:00Z', bytes: YQ==, ip: 10.0.0.1, long: 1h, small: 1, id: 6ba7b810-9dad-11d1-80b4-00c04fd430c8}", `{"bytes":"YQ==","id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","ip":"10.0.0.1","long":"1h","maybe":"x","nested":{"a":1},"never":"x","small":1,"stamp":"2020-01-01T00:00:00Z"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.Do(t, "POST", things(group)+"?dryRun=All", object(group, "x", c.spec))
			if want, bad := strings.CutPrefix(c.want, "!"); bad {
				if message := fmt.Sprint(got.Object["message"]); got.Code < 400 || got.Code >= 500 || !strings.Contains(message, strings.TrimSpace(want)) {
					t.Errorf("got %d %s\nwant %s", got.Code, message, want)
				}
				return
			}
			if spec := rawapi.Flat(rawapi.At(got.Object, "spec")); got.Code != http.StatusCreated || spec != c.want {
				t.Errorf("got %d %s\nwant %s\n%v", got.Code, spec, c.want, got.Object["message"])
			}
		})
	}
}

// testPreserving keeps unknown fields everywhere, which only a root that says so may.
func testPreserving(t *testing.T, a *rawapi.API) {
	const group = "preserving.test"
	refused := a.Do(t, "POST", crds, asCRD+strings.Replace(thing(group, "{type: object}", ""), "spec:\n", "spec:\n  preserveUnknownFields: true\n", 1))
	if !strings.Contains(refused.Body, "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead") {
		t.Errorf("preserveUnknownFields: %s", refused.Body)
	}
	define(t, a, strings.Replace(thing(group, "{type: object}", ""), "          status: {", "          open: {", 1))
	a.Must(t, "PATCH", crds+"/things."+group, `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-preserve-unknown-fields","value":true}]`, "Content-Type", "application/json-patch+json")
	rawapi.Eventually(t, "unknown fields are kept", func() (bool, string) {
		got := a.Must(t, "POST", things(group)+"?dryRun=All", strings.Replace(object(group, "x", "{a: 1}"), "spec:", "extra: {b: 2}, spec:", 1))
		return rawapi.Flat(rawapi.At(got.Object, "extra")) == `{"b":2}` && rawapi.Flat(rawapi.At(got.Object, "spec")) == "{}", got.Body
	})
}

func testFieldValidation(t *testing.T, a *rawapi.API) {
	const group = "strict.test"
	define(t, a, thing(group, "{type: object, properties: {a: {type: integer}}}", ""))
	body := strings.Replace(object(group, "x", "{a: 1, b: 2}"), "metadata: {", "metadata: {zone: x, ", 1)
	twice := "apiVersion: strict.test/v1\nkind: Thing\nmetadata: {name: x}\nspec:\n  a: 1\n  a: 2\n"
	for name, c := range map[string]struct {
		level, body, message string
		code                 int
		warned               string
	}{
		"default":       {"", body, "", 201, `unknown field "spec.b"`},
		"warn":          {"Warn", body, "", 201, `unknown field "metadata.zone"`},
		"ignore":        {"Ignore", body, "", 201, ""},
		"strict":        {"Strict", body, `Thing in version "v1" cannot be handled as a Thing: strict decoding error: unknown field "metadata.zone", unknown field "spec.b"`, 400, ""},
		"twice":         {"Strict", twice, `strict decoding error: yaml: unmarshal errors`, 400, ""},
		"unknown level": {"Lax", body, "fieldValidation: Unsupported value", 422, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.Do(t, "POST", things(group)+"?dryRun=All&fieldValidation="+c.level, c.body)
			warned := strings.Join(got.Header.Values("Warning"), "; ")
			if unescaped := strings.ReplaceAll(warned, `\"`, `"`); got.Code != c.code || !strings.Contains(fmt.Sprint(got.Object["message"]), c.message) || !strings.Contains(unescaped, c.warned) || (c.warned == "" && warned != "") {
				t.Errorf("got %d %v\nwarned %s", got.Code, got.Object["message"], warned)
			}
		})
	}
}
