package fuzz

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/test/rawapi"
)

var patchTypes = []string{
	"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
	"application/apply-patch+yaml", "application/apply-patch+cbor",
}

const (
	patchedConfig = `{"metadata":{"name":"patched","labels":{"a":"b"},"finalizers":["x.test/y"]},"data":{"k":"v"},"binaryData":{"b":"AAE="}}`
	patchedDeploy = `{"metadata":{"name":"patched"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},
		"spec":{"containers":[{"name":"c","image":"i:1","ports":[{"containerPort":80}],"env":[{"name":"E","value":"1"}]}],"volumes":[{"name":"v","emptyDir":{}}]}}}}`
	things = `{"metadata":{"name":"things.fuzz.test"},"spec":{"group":"fuzz.test","scope":"Namespaced","names":{"plural":"things","kind":"Thing"},"versions":[{"name":"v1","served":true,"storage":true,
		"subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},
		"schema":{"openAPIV3Schema":{"type":"object","properties":{"status":{"type":"object","properties":{"n":{"type":"integer"}}},"spec":{"type":"object","x-kubernetes-validations":[{"rule":"!has(self.s) || self.s.size() < 20"}],"properties":{
			"s":{"type":"string","pattern":"^[a-z]*$","default":"d"},"n":{"type":"integer","format":"int32","minimum":0},"q":{"x-kubernetes-int-or-string":true},"t":{"type":"string","format":"date-time","nullable":true},
			"any":{"type":"object","x-kubernetes-preserve-unknown-fields":true},"raw":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},
			"l":{"type":"array","maxItems":9,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"},"v":{"type":"number"}}}},
			"set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},"m":{"type":"object","additionalProperties":{"type":"boolean"}}}}}}}}]}}`
	thing = `{"apiVersion":"fuzz.test/v1","kind":"Thing","metadata":{"name":"patched","namespace":"default"},"spec":{"s":"a","n":1,"q":"5%","t":null,"any":{"x":[1,{"y":null}]},"l":[{"k":"a","v":1.5}],"set":["a"],"m":{"t":true},"raw":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}}}`

	thingsPath = "/apis/fuzz.test/v1/namespaces/default/things"
)

// withThings serves custom resources besides.
func withThings(f *testing.F) *target {
	t := start(f)
	if t.server == nil {
		return t
	}
	t.create(f, "/api/v1/namespaces/default/configmaps", patchedConfig)
	t.create(f, "/apis/apps/v1/namespaces/default/deployments", patchedDeploy)
	t.create(f, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", things)
	rawapi.Eventually(f, "the custom resource is served", func() (bool, string) {
		a := t.send(f, http.MethodPost, thingsPath, []byte(thing), jsonType)
		return a.code == http.StatusCreated || a.code == http.StatusConflict, string(a.body)
	})
	return t
}

func FuzzPatch(f *testing.F) {
	t := withThings(f)
	paths := []string{"/api/v1/namespaces/default/configmaps/patched", "/apis/apps/v1/namespaces/default/deployments/patched", thingsPath + "/patched", thingsPath + "/patched/status", "/apis/apps/v1/namespaces/default/deployments/patched/scale"}
	seeds := []string{
		`[{"op":"add","path":"/data/x","value":"y"},{"op":"test","path":"/data/k","value":"v"},{"op":"move","from":"/data/x","path":"/data/z"},{"op":"copy","from":"/data/k","path":"/metadata/labels/l"},{"op":"remove","path":"/data/k"}]`,
		`{"data":{"k":null,"l":"m"},"metadata":{"labels":{"a":"c"}}}`,
		`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j","$patch":"merge"},{"name":"d","$patch":"delete"}],"$setElementOrder/containers":[{"name":"c"}],"$retainKeys":["containers"]}}}}`,
		`{"metadata":{"$deleteFromPrimitiveList/finalizers":["x.test/y"],"finalizers":["z.test/y"]}}`,
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: patched}\ndata: {k: w}\n",
		"apiVersion: fuzz.test/v1\nkind: Thing\nmetadata: {name: patched}\nspec: {l: [{k: a, v: 2}], set: [b]}\n",
		`{"spec":{"replicas":3}}`, "null", "[]", `[{"op":"replace","path":"","value":null}]`, `[{"op":"replace","path":""}]`, `[{"op":"add","path":"/spec/l/-1","value":{}}]`,
	}
	for i, s := range seeds {
		for kind := range patchTypes {
			f.Add(uint8(i), uint8(kind), uint8(i), []byte(s))
		}
	}
	f.Fuzz(func(tt *testing.T, which, kind, strict uint8, body []byte) {
		path := fmt.Sprintf("%s?%s&fieldManager=fuzz&force=%t", paths[int(which)%len(paths)], validation(strict), strict%2 == 0)
		contentType := patchTypes[int(kind)%len(patchTypes)]
		if !strings.Contains(contentType, "apply") {
			path = strings.TrimSuffix(strings.TrimSuffix(path, "&force=true"), "&force=false")
		}
		t.sendAny(tt, http.MethodPatch, path, body, contentType).refused(tt)
	})
}

func FuzzCustomResource(f *testing.F) {
	t := withThings(f)
	f.Add(uint8(0), []byte(thing))
	f.Add(uint8(1), []byte(thing))
	for _, s := range []string{`{"s":1}`, `{"n":1.0}`, `{"n":99999999999999999999}`, `{"raw":{"metadata":{"finalizers":7}}}`, `{"l":[{"k":"a"},{"k":"a"}]}`, `{"m":{"x":null}}`, `null`, `[]`} {
		f.Add(uint8(2), []byte(`{"apiVersion":"fuzz.test/v1","kind":"Thing","metadata":{"generateName":"x"},"spec":`+s+`}`))
	}
	f.Fuzz(func(tt *testing.T, strict uint8, body []byte) {
		a := t.send(tt, http.MethodPost, thingsPath+"?"+validation(strict), body, []string{jsonType, yamlType}[strict%2])
		if a.refused(tt) {
			return
		}
		if table := t.send(tt, http.MethodPost, thingsPath+"?"+validation(0), body, yamlType, "application/json;as=Table;v=v1;g=meta.k8s.io"); table.code >= http.StatusBadRequest && table.code != http.StatusConflict {
			table.refused(tt)
		}
	})
}

func FuzzSelector(f *testing.F) {
	t := start(f)
	for _, s := range []string{"", "a=b", "a in (b,c),!d", "a notin (b)", "x/y==z", "a>1", "metadata.name=a", "spec.nodeName!=b,status.phase=Running", "a\\=b=c", "=", ",", "a=b=c", "metadata.namespace in (a)"} {
		f.Add(uint8(0), s)
		f.Add(uint8(57), s)
	}
	f.Fuzz(func(tt *testing.T, which uint8, text string) {
		if s, err := labels.Parse(text); err == nil {
			if again, err := labels.Parse(s.String()); err != nil || again.String() != s.String() {
				tt.Errorf("%q is printed as %q, which is read as %v: %v", text, s, again, err)
			}
		}
		if s, err := fields.ParseSelector(text); err == nil {
			if again, err := fields.ParseSelector(s.String()); err != nil || again.String() != s.String() {
				tt.Errorf("%q is printed as %q, which is read as %v: %v", text, s, again, err)
			}
		}
		path := t.of(which).path
		for _, name := range []string{"labelSelector", "fieldSelector"} {
			t.send(tt, http.MethodGet, path+"?"+name+"="+url.QueryEscape(text), nil, "").refused(tt)
			t.send(tt, http.MethodDelete, path+"?dryRun=All&"+name+"="+url.QueryEscape(text), nil, "").refused(tt)
		}
	})
}

func FuzzContinue(f *testing.F) {
	t := withThings(f)
	for _, s := range []string{"", "x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiL2EifQ", "eyJ2IjoieCJ9", "bnVsbA=="} {
		f.Add(s, "1", "", "")
		f.Add(s, "", "5", "Exact")
		f.Add("", "2", s, "NotOlderThan")
	}
	f.Fuzz(func(tt *testing.T, token, limit, version, match string) {
		q := url.Values{}
		for name, v := range map[string]string{"continue": token, "limit": limit, "resourceVersion": version, "resourceVersionMatch": match} {
			if v != "" {
				q.Set(name, v)
			}
		}
		q.Set("timeout", "1s") // a version that is yet to come is waited for
		for _, path := range []string{"/api/v1/configmaps", thingsPath} {
			a := t.sendAny(tt, http.MethodGet, path+"?"+q.Encode(), nil, "")
			if a.code != http.StatusGatewayTimeout {
				a.refused(tt)
			}
		}
	})
}

// FuzzPath asks for paths and queries that no client makes.
func FuzzPath(f *testing.F) {
	t := start(f)
	for _, s := range []string{
		"/", "/api", "/api/v1/namespaces/default/pods/x/log?container=c&tailLines=-1", "/apis/apps/v1/namespaces//deployments", "/api/v1/namespaces/default/services/https:x:y/proxy/z",
		"/api/v1/watch/pods?timeoutSeconds=0", "/openapi/v3/api/v1?hash=x", "/version?timeout=x", "/apis/x.y/v1/z", "/api/v1/nodes/n/proxy/%2e%2e", "/healthz/etcd?verbose&exclude=x", "/api/v1/namespaces/default/pods/p/exec?command=a", "/metrics", "/metrics/slis", "/debug/api_priority_and_fairness/dump_queues", "/logs", "/.well-known/openid-configuration",
	} {
		f.Add(uint8(0), s)
		f.Add(uint8(1), s)
	}
	methods := []string{http.MethodGet, http.MethodDelete, http.MethodOptions, http.MethodHead, http.MethodPut, "X"}
	f.Fuzz(func(tt *testing.T, method uint8, path string) {
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "watch") || strings.Contains(path, "pprof") || strings.Contains(path, "follow") {
			return // what is meant to take long
		}
		m := methods[int(method)%len(methods)]
		if m == http.MethodDelete || m == http.MethodPut {
			path, _, _ = strings.Cut(path, "?")
			path += "?dryRun=All"
		}
		t.sendAny(tt, m, path, nil, "")
	})
}
