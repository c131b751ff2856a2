package golden

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

const podPath = "/api/v1/namespaces/default/pods/prereq-pod"

// An effect checks the answer and what the request left behind.
type effect = func(f fixture, answer map[string]any)

// effects says what each special request does, by its name.
var effects = map[string]effect{
	"binding-collection": bound(nil),
	"binding-pod":        bound(nil),
	"binding-rich": bound(map[string]string{
		"metadata.annotations.example~org/by":         `"me"`,
		"metadata.labels.topology~kubernetes~io/zone": `"z1"`,
		"metadata.labels.app":                         `"prereq"`,
		"status.conditions.0.type":                    `"PodScheduled"`,
		"status.conditions.0.status":                  `"True"`,
	}),
	"csr-approval": answered(map[string]string{
		"status.conditions.0.type": `"Approved"`, "status.conditions.0.lastUpdateTime": "*", "status.conditions.0.lastTransitionTime": "*",
		"status.conditions.0.message": `"fine"`, "status.conditions.0.reason": `"Corpus"`, "status.certificate": "",
	}),
	"ephemeral-min": answered(map[string]string{
		"spec.ephemeralContainers.0.name": `"debug"`, "spec.ephemeralContainers.0.imagePullPolicy": `"Always"`,
		"spec.ephemeralContainers.0.terminationMessagePath":   `"/dev/termination-log"`,
		"spec.ephemeralContainers.0.terminationMessagePolicy": `"File"`, "spec.ephemeralContainers.0.resources": `{}`,
		"metadata.generation": "2",
	}),
	"ephemeral-rich": answered(map[string]string{
		"spec.ephemeralContainers.0.name": `"debug"`, "spec.ephemeralContainers.0.env": "*", "metadata.generation": "2",
	}),
	"ephemeral-security": answered(map[string]string{
		"spec.ephemeralContainers.0.securityContext.privileged": "true", "spec.ephemeralContainers.0.securityContext.capabilities.drop": `["ALL"]`,
	}),
	"ephemeral-windows": answered(map[string]string{
		"spec.ephemeralContainers.0.securityContext.windowsOptions": "*",
	}),
	"eviction-foreground": evicted,
	"eviction-options":    keptByDryRun,
	"eviction-orphan":     evicted,
	"eviction-plain":      evicted,

	"namespace-finalize": answered(map[string]string{"spec.finalizers": `["kubernetes","example.org/more"]`}),
	"prioritylevelconfiguration-exempt": answered(map[string]string{
		"spec.type": `"Exempt"`, "spec.exempt.nominalConcurrencyShares": "5", "spec.exempt.lendablePercent": "30",
	}),
	"resize-up": answered(map[string]string{
		"spec.containers.0.resources.requests": `{"cpu":"200m","memory":"128Mi"}`,
		"spec.containers.0.resources.limits":   `{"cpu":"1","memory":"256Mi"}`, "metadata.generation": "2",
	}),
	"resourceclaim-admin":         answered(map[string]string{"spec.devices.requests.0.exactly.adminAccess": "true"}),
	"resourceclaimtemplate-admin": answered(map[string]string{"spec.spec.devices.requests.0.exactly.adminAccess": "true"}),

	"scale-deployment":            scaled("/apis/apps/v1/namespaces/default/deployments/prereq-deployment", "3"),
	"scale-replicationcontroller": scaled("/api/v1/namespaces/default/replicationcontrollers/prereq-replicationcontroller", "7"),
	"scale-statefulset":           scaled("/apis/apps/v1/namespaces/default/statefulsets/prereq-statefulset", "0"),

	"localsubjectaccessreview-raw":        decided("false"),
	"localsubjectaccessreview-resource":   decided("false"),
	"localsubjectaccessreview-selectors":  decided("false"),
	"selfsubjectaccessreview-nonresource": decided("true"),
	"selfsubjectaccessreview-raw":         decided("true"),
	"selfsubjectaccessreview-resource":    decided("true"),
	"selfsubjectaccessreview-selectors":   decided("true"),
	"subjectaccessreview-grouponly":       decided("true"),
	"subjectaccessreview-nonresource":     decided("false"),
	"subjectaccessreview-raw":             decided("false"),
	"subjectaccessreview-resource":        decided("false"),
	"subjectaccessreview-selectors":       decided("false"),
	"subjectaccessreview-wild":            decided("false"),
	"selfsubjectreview": answered(map[string]string{
		"status.userInfo.username": `"admin"`, "status.userInfo.uid": `"admin"`, "status.userInfo.groups": `["system:masters","system:authenticated"]`,
	}),
	"selfsubjectrulesreview-default": answered(map[string]string{
		"status.incomplete": "false", "status.resourceRules": "*", "status.nonResourceRules": "*",
	}),

	"tokenrequest-audience": issued(map[string]string{"aud": `["vault","https://other.example.org"]`, "sub": `"system:serviceaccount:default:default"`}),
	"tokenrequest-plain":    issued(map[string]string{"aud": "*", "kubernetes~io.pod": "", "kubernetes~io.serviceaccount.name": `"default"`}),
	"tokenrequest-pod":      issued(map[string]string{"kubernetes~io.pod.name": `"prereq-pod"`, "kubernetes~io.pod.uid": "*", "kubernetes~io.secret": ""}),
	"tokenrequest-secret":   issued(map[string]string{"kubernetes~io.secret.name": `"prereq-secret"`, "kubernetes~io.pod": ""}),
	"tokenreview-bad":       answered(map[string]string{"status.authenticated": "", "status.error": "*", "status.user": "{}"}),
	"tokenreview-good": answered(map[string]string{
		"status.authenticated": "true", "status.user.username": `"system:serviceaccount:default:default"`, "status.audiences": "*",
		"status.user.groups": `["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"]`,
	}),
}

func answered(want map[string]string) effect {
	return func(f fixture, answer map[string]any) { f.t.Helper(); f.is(answer, want) }
}

// bound expects a pod on node-9 and the answer Success.
func bound(want map[string]string) effect {
	return func(f fixture, answer map[string]any) {
		f.t.Helper()
		f.is(answer, map[string]string{"kind": `"Status"`, "status": `"Success"`, "code": "201"})
		pod := f.get(podPath)
		f.is(pod, map[string]string{"spec.nodeName": `"node-9"`, "status.conditions.0.type": `"PodScheduled"`})
		f.is(pod, want)
	}
}

func evicted(f fixture, answer map[string]any) {
	f.t.Helper()
	f.is(answer, map[string]string{"kind": `"Status"`, "status": `"Success"`, "code": "201"})
	status, body, err := f.do(f.t.Context(), "GET", podPath, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if status != http.StatusNotFound {
		f.is(body, map[string]string{"metadata.deletionTimestamp": "*"})
	}
}

func keptByDryRun(f fixture, answer map[string]any) {
	f.t.Helper()
	f.is(answer, map[string]string{"kind": `"Status"`, "status": `"Success"`})
	f.is(f.get(podPath), map[string]string{"metadata.deletionTimestamp": ""})
}

func scaled(parent, replicas string) effect {
	return func(f fixture, answer map[string]any) {
		f.t.Helper()
		f.is(answer, map[string]string{"kind": `"Scale"`, "apiVersion": `"autoscaling/v1"`, "metadata.resourceVersion": "*", "status.selector": "*"})
		f.is(f.get(parent), map[string]string{"spec.replicas": replicas})
	}
}

func decided(allowed string) effect {
	return answered(map[string]string{"status.allowed": allowed, "metadata.uid": "", "metadata.creationTimestamp": ""})
}

// issued compares the claims of the token in the answer.
func issued(want map[string]string) effect {
	return func(f fixture, answer map[string]any) {
		f.t.Helper()
		f.is(answer, map[string]string{"status.expirationTimestamp": "*"})
		token, _ := at(answer, "status.token").(string)
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			f.t.Fatalf("no JWT: %q", token)
		}
		data, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			f.t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(data, &claims); err != nil {
			f.t.Fatal(err)
		}
		f.is(claims, want)
		f.is(claims, map[string]string{"iss": "*", "iat": "*", "nbf": "*", "exp": "*", "jti": "*"})
	}
}
