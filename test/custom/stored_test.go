package custom

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"skiff/test/env"
	"skiff/test/rawapi"
)

// testStoredForm looks at definitions in etcd: they are JSON, as Kubernetes
// keeps them, and protobuf that an earlier server left is read.
func testStoredForm(t *testing.T, a *rawapi.API, s *env.Server) {
	const keys = "/registry/apiextensions.k8s.io/customresourcedefinitions/"
	manifest := strings.Replace(thing("json.test", "{type: object, enum: [{}], required: []}", ""), "kind: Thing,", "kind: Thing, categories: [],", 1)
	define(t, a, manifest)
	got, err := s.Etcd.Client.KV.Get(t.Context(), keys+"things.json.test")
	if err != nil || len(got.Kvs) != 1 || !bytes.HasPrefix(got.Kvs[0].Value, []byte(`{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1"`)) {
		t.Fatalf("stored: %v, %v", got, err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal([]byte(asCRD+thing("protobuf.test", "{type: object}", "")), &crd); err != nil {
		t.Fatal(err)
	}
	crd.UID = "1"
	info, _ := runtime.SerializerInfoForMediaType(apiextensions.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	old, err := runtime.Encode(apiextensions.Codecs.EncoderForVersion(info.Serializer, apiextensionsv1.SchemeGroupVersion), &crd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Etcd.Client.KV.Put(t.Context(), keys+"things.protobuf.test", string(old)); err != nil {
		t.Fatal(err)
	}
	rawapi.Eventually(t, "the definition left by an earlier server is served", func() (bool, string) {
		got := a.Do(t, "GET", things("protobuf.test"), "")
		return got.Code == http.StatusOK, got.Body
	})
}
