package custom

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"

	"skiff/test/rawapi"
)

// converter is a conversion webhook: v1 has spec.count, v2 spec.amount.
type converter struct {
	port   string
	bundle []byte
	spoil  atomic.Pointer[func(*apiextensionsv1.ConversionResponse)] // changes an rawapi.Answer
}

// newConverter serves as the Service converter in namespace team.
func newConverter(t *testing.T) *converter {
	t.Helper()
	public, key, err := cert.GenerateSelfSignedCertKey("converter.team.svc", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(public, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &converter{bundle: public}
	server := httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	if _, c.port, err = net.SplitHostPort(server.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *converter) serve(w http.ResponseWriter, r *http.Request) {
	var review apiextensionsv1.ConversionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(raw.Raw); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		rename(o, review.Request.DesiredAPIVersion)
		out.ConvertedObjects = append(out.ConvertedObjects, runtime.RawExtension{Object: o})
	}
	if spoil := c.spoil.Load(); spoil != nil {
		(*spoil)(out)
	}
	review.Request, review.Response = nil, out
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // the server has gone
}

func rename(o *unstructured.Unstructured, version string) {
	spec, _ := o.Object["spec"].(map[string]any)
	for from, to := range map[string]string{"count": "amount", "amount": "count"} {
		if v, ok := spec[from]; ok && strings.HasSuffix(version, map[string]string{"amount": "v2", "count": "v1"}[to]) {
			spec[to] = v
			delete(spec, from)
		}
	}
	o.SetAPIVersion(version)
}

// versioned is a definition with v1 and v2, of which v1 is stored.
func versioned(group, conversion string) string {
	return fmt.Sprintf(`metadata: {name: things.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  conversion: %[2]s
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {count: {type: integer}}}}}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {amount: {type: integer, maximum: 9}}}}}}}
`, group, conversion)
}

func (c *converter) client(reference string) string {
	return fmt.Sprintf("{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {caBundle: %s, %s}}}", base64.StdEncoding.EncodeToString(c.bundle), reference)
}

func testConversion(t *testing.T, a *rawapi.API) {
	c := newConverter(t)
	a.Must(t, "POST", "/api/v1/namespaces/team/services", "{apiVersion: v1, kind: Service, metadata: {name: converter}, spec: {type: ExternalName, externalName: localhost, ports: [{port: "+c.port+"}]}}")
	for group, reference := range map[string]string{
		"byurl.test":     "url: 'https://127.0.0.1:" + c.port + "/convert'",
		"byservice.test": "service: {namespace: team, name: converter, path: /convert, port: " + c.port + "}",
	} {
		define(t, a, versioned(group, c.client(reference)))
		v2 := strings.Replace(things(group), "/v1/", "/v2/", 1)
		rawapi.Eventually(t, "v2 is converted", func() (bool, string) {
			got := a.Do(t, "POST", v2, strings.Replace(object(group, "x", "{amount: 3}"), "/v1", "/v2", 1))
			return got.Code == http.StatusCreated && rawapi.Flat(rawapi.At(got.Object, "spec")) == `{"amount":3}`, got.Body
		})
		if got := a.Must(t, "GET", things(group)+"/x", ""); rawapi.Flat(rawapi.At(got.Object, "spec")) != `{"count":3}` {
			t.Errorf("%s: as v1: %s", group, got.Body)
		}
		if got := a.Must(t, "GET", v2, ""); rawapi.Flat(rawapi.At(got.Object, "items.0.spec")) != `{"amount":3}` || rawapi.At(got.Object, "items.0.apiVersion") != group+"/v2" {
			t.Errorf("%s: a list as v2: %s", group, got.Body)
		}
		if got := a.Do(t, "PATCH", v2+"/x", `{"spec":{"amount":10}}`, "Content-Type", "application/merge-patch+json"); got.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s: checked as v2: %d %s", group, got.Code, got.Body)
		}
		if got := a.Must(t, "PATCH", v2+"/x?fieldManager=m", strings.Replace(object(group, "x", "{amount: 3}"), "/v1", "/v2", 1), "Content-Type", "application/apply-patch+yaml"); rawapi.Flat(rawapi.At(got.Object, "spec")) != `{"amount":3}` {
			t.Errorf("%s: applied as v2: %s", group, got.Body)
		}
		if e := <-a.Watch(t.Context(), t, v2+"?watch=1&timeoutSeconds=1"); rawapi.Flat(rawapi.At(e, "object.spec")) != `{"amount":3}` {
			t.Errorf("%s: watched as v2: %s", group, rawapi.Flat(e))
		}
	}
	for want, spoil := range map[string]func(*apiextensionsv1.ConversionResponse){
		"conversion webhook for byurl.test/v1, Kind=Thing failed: not today": func(r *apiextensionsv1.ConversionResponse) {
			r.Result = metav1.Status{Status: "Failure", Message: "not today"}
		},
		"conversion webhook for byurl.test/v1, Kind=Thing returned 0 objects, expected 1": func(r *apiextensionsv1.ConversionResponse) { r.ConvertedObjects = nil },
		"returned invalid object at index 0: invalid groupVersion (expected byurl.test/v2, received byurl.test/v1)": func(r *apiextensionsv1.ConversionResponse) {
			r.ConvertedObjects[0].Object.(*unstructured.Unstructured).SetAPIVersion("byurl.test/v1")
		},
		"returned invalid object: must have the same UID": func(r *apiextensionsv1.ConversionResponse) {
			r.ConvertedObjects[0].Object.(*unstructured.Unstructured).SetUID(types.UID("other"))
		},
	} {
		c.spoil.Store(&spoil)
		got := a.Do(t, "GET", "/apis/byurl.test/v2/namespaces/team/things/x", "")
		if message := fmt.Sprint(got.Object["message"]); got.Code != http.StatusInternalServerError || !strings.Contains(message, want) {
			t.Errorf("got %d %s\nwant %s", got.Code, message, want)
		}
	}
	c.spoil.Store(nil)
	testUntrusted(t, a, c)
}

// testUntrusted converts through a webhook with a certificate that is not trusted.
func testUntrusted(t *testing.T, a *rawapi.API, c *converter) {
	other := newConverter(t)
	define(t, a, versioned("untrusted.test", other.client("url: 'https://127.0.0.1:"+c.port+"/convert'")))
	got := a.Do(t, "POST", "/apis/untrusted.test/v2/namespaces/team/things", strings.Replace(object("untrusted.test", "x", "{amount: 3}"), "/v1", "/v2", 1))
	if got.Code != http.StatusInternalServerError || !strings.Contains(got.Body, "certificate signed by unknown authority") {
		t.Errorf("an untrusted certificate: %d %s", got.Code, got.Body)
	}
}

// testStorageVersions stores in another version; the old one stays among the
// stored versions until its user removes it.
func testStorageVersions(t *testing.T, a *rawapi.API) {
	const group = "stored.test"
	define(t, a, versioned(group, "{strategy: None}"))
	a.Must(t, "POST", things(group), object(group, "old", "{count: 1}"))
	storeV2 := `[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]`
	got := a.Must(t, "PATCH", crds+"/things."+group, storeV2, "Content-Type", "application/json-patch+json")
	if v := rawapi.Flat(rawapi.At(got.Object, "status.storedVersions")); v != `["v1","v2"]` {
		t.Errorf("stored versions: %s", v)
	}
	if got := a.Must(t, "GET", strings.Replace(things(group), "/v1/", "/v2/", 1)+"/old", ""); rawapi.At(got.Object, "apiVersion") != group+"/v2" || rawapi.Flat(rawapi.At(got.Object, "spec")) != "{}" {
		t.Errorf("the old object as v2, without a conversion: %s", got.Body)
	}
	drop := `[{"op":"remove","path":"/spec/versions/0"}]`
	if got := a.Do(t, "PATCH", crds+"/things."+group, drop, "Content-Type", "application/json-patch+json"); got.Code != http.StatusUnprocessableEntity ||
		!strings.Contains(got.Body, "status.storedVersions[0]: Invalid value: \\\"v1\\\": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration") {
		t.Errorf("dropping a stored version: %d %s", got.Code, got.Body)
	}
	a.Must(t, "PATCH", crds+"/things."+group+"/status", `{"status":{"storedVersions":["v2"]}}`, "Content-Type", "application/merge-patch+json")
	a.Must(t, "PATCH", crds+"/things."+group, drop, "Content-Type", "application/json-patch+json")
	rawapi.Eventually(t, "v1 is gone", func() (bool, string) {
		got, service := a.Do(t, "GET", things(group), ""), a.Do(t, "GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1."+group, "")
		return got.Code == http.StatusNotFound && service.Code == http.StatusNotFound, got.Body
	})
}
