package fuzz

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skiff/apis/server"
	"skiff/config"
)

// FuzzToken tries bearer tokens: none is another's, and none breaks anything.
func FuzzToken(f *testing.F) {
	t := start(f)
	const owner = "system:serviceaccount:default:default"
	for _, s := range []string{"", "x", "..", "a.b.c", "abcdef.0123456789abcdef", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJzdWIiOiJzeXN0ZW06YWRtaW4ifQ.AA"} {
		f.Add(s)
	}
	if t.server != nil {
		a := t.send(f, http.MethodPost, "/api/v1/namespaces/default/serviceaccounts/default/token", []byte(`{"spec":{"expirationSeconds":3600}}`), jsonType)
		var r struct{ Status struct{ Token string } }
		if err := json.Unmarshal(a.body, &r); err != nil || r.Status.Token == "" {
			f.Fatalf("no token: %s", a.body)
		}
		head, rest, _ := strings.Cut(r.Status.Token, ".")
		f.Add(r.Status.Token)
		f.Add(head + "." + head + "." + rest)
	}
	f.Fuzz(func(tt *testing.T, token string) {
		req, err := http.NewRequestWithContext(tt.Context(), http.MethodGet, "https://in-process/api", http.NoBody)
		if err != nil {
			tt.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, ok, err := t.server.Access.Request.AuthenticateRequest(req)
		if ok && err == nil && resp.User.GetName() != owner && resp.User.GetName() != "system:anonymous" {
			tt.Errorf("%q is taken for the token of %s", token, resp.User.GetName())
		}
		body, err := json.Marshal(map[string]any{"spec": map[string]any{"token": token}})
		if err != nil {
			tt.Fatal(err)
		}
		t.send(tt, http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", body, jsonType).refused(tt)
	})
}

// FuzzCEL puts expressions wherever users write them.
func FuzzCEL(f *testing.F) {
	t := start(f)
	const crds, policies, mutations = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
	for _, s := range []string{
		"self.x == 1", "has(object.metadata.labels) && object.metadata.labels.all(k, k.startsWith('a'))", "params.x.size() > oldObject.y", "authorizer.group('').resource('pods').check('get').allowed()",
		"device.attributes['a.test'].b == 'c' && device.capacity['a.test'].m.compareTo(quantity('1Gi')) >= 0", "Object{spec: Object.spec{replicas: 1}}", "[JSONPatch{op: 'add', path: '/a', value: 1}]", "isIP('1.2.3.4') || url('https://a').getHost() == ''",
		"[1,2,3].map(x, x*x).exists(y, y > 5)", "'a'.matches('(((((a*)*)*)*)*)*b')", "1/0", "((", "self.__x__.y[?'z'].orValue(1)", "variables.v", "duration('1h') + timestamp('2020-01-01T00:00:00Z')",
	} {
		f.Add(s)
	}
	f.Fuzz(func(tt *testing.T, expression string) {
		e, err := json.Marshal(expression)
		if err != nil {
			tt.Fatal(err)
		}
		constraints := `"matchConstraints":{"resourceRules":[{"apiGroups":["*"],"apiVersions":["*"],"operations":["*"],"resources":["*"]}]}`
		for path, body := range map[string]string{
			crds:                                     `{"metadata":{"name":"xs.cel.test"},"spec":{"group":"cel.test","scope":"Cluster","names":{"plural":"xs","kind":"X"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"x":{"type":"integer"},"y":{"type":"array","items":{"type":"string"}}},"x-kubernetes-validations":[{"rule":` + string(e) + `,"messageExpression":` + string(e) + `}]}}}]}}`,
			policies:                                 `{"metadata":{"name":"x"},"spec":{` + constraints + `,"variables":[{"name":"v","expression":` + string(e) + `}],"matchConditions":[{"name":"m","expression":` + string(e) + `}],"auditAnnotations":[{"key":"k","valueExpression":` + string(e) + `}],"validations":[{"expression":` + string(e) + `,"messageExpression":` + string(e) + `}]}}`,
			mutations:                                `{"metadata":{"name":"x"},"spec":{` + constraints + `,"reinvocationPolicy":"Never","mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":` + string(e) + `}},{"patchType":"JSONPatch","jsonPatch":{"expression":` + string(e) + `}}]}}`,
			"/apis/resource.k8s.io/v1/deviceclasses": `{"metadata":{"name":"x"},"spec":{"selectors":[{"cel":{"expression":` + string(e) + `}}]}}`,
			"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations": `{"metadata":{"name":"x"},"webhooks":[{"name":"a.b.c","admissionReviewVersions":["v1"],"sideEffects":"None","clientConfig":{"url":"https://x.test"},"matchConditions":[{"name":"m","expression":` + string(e) + `}]}]}`,
		} {
			t.send(tt, http.MethodPost, path+"?dryRun=All", []byte(body), jsonType).refused(tt)
		}
	})
}

// FuzzConfigurationFile reads files that an administrator writes.
func FuzzConfigurationFile(f *testing.F) {
	for _, s := range []string{
		"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}, {identity: {}}]}]\n",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: baseline}}}]\n",
		"apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n",
		"", "---", "a: &a [*a]", "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: null\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(tt *testing.T, data []byte) {
		path := filepath.Join(tt.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			tt.Fatal(err)
		}
		audit := config.DefaultAudit()
		audit.PolicyFile, audit.Webhook.ConfigFile = path, path
		for what, err := range map[string]error{
			"audit":      server.CheckAudit(audit),
			"encryption": server.CheckEncryption(config.Encryption{ConfigFile: path}),
			"admission":  server.CheckAdmission(config.Admission{ConfigFile: path}),
		} {
			var told *config.Error
			if err != nil && (!errors.As(err, &told) || strings.Contains(err.Error(), "\n")) {
				tt.Errorf("%s: %q does not say in one line what is wrong", what, err)
			}
		}
	})
}
