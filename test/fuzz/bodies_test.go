package fuzz

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// encode writes an object that came as JSON in the other encodings of its Go type.
func encode(tb testing.TB, data []byte) (asProtobuf, asYAML []byte) {
	tb.Helper()
	obj, kind, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, nil // a kind that clients have no type for
	}
	obj.GetObjectKind().SetGroupVersionKind(*kind)
	var b bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(obj, &b); err != nil {
		tb.Fatalf("encoding a %s as protobuf: %v", kind.Kind, err)
	}
	asYAML, err = yaml.JSONToYAML(data)
	if err != nil {
		return nil, nil // JSON with bytes that are no UTF-8
	}
	return b.Bytes(), asYAML
}

func FuzzJSON(f *testing.F) {
	t := start(f)
	for i, k := range t.kinds {
		f.Add(uint8(i), uint8(i), k.json())
	}
	for _, body := range []string{"", "null", "[]", "{", `{"metadata":null}`, `{"kind":"Pod","apiVersion":"v1","kind":"Pod"}`, `{"metadata":{"name":1e999}}`, "\xef\xbb\xbf{}"} {
		f.Add(uint8(0), uint8(2), []byte(body))
	}
	f.Fuzz(func(tt *testing.T, which, strict uint8, body []byte) {
		path := t.of(which).path
		if a := t.send(tt, http.MethodPost, path+"?"+validation(strict), body, jsonType); a.refused(tt) {
			return
		}
		asProtobuf, asYAML := encode(tt, body)
		if asProtobuf == nil {
			return
		}
		for contentType, body := range map[string][]byte{protobufType: asProtobuf, yamlType: asYAML} {
			if a := t.send(tt, http.MethodPost, path+"?"+validation(strict), body, contentType); a.refused(tt) {
				tt.Errorf("POST %s: accepted as JSON, refused as %s: %s", path, contentType, a.body)
			}
		}
	})
}

func FuzzYAML(f *testing.F) {
	t := start(f)
	for i, k := range t.kinds {
		if _, asYAML := encode(f, k.json()); asYAML != nil {
			f.Add(uint8(i), uint8(i), asYAML)
		}
	}
	for _, body := range []string{"a: &a [x]\nb: [*a, *a]", "---\n---", "? {a: b}\n: c", "<<: {a: b}", "metadata: {name: !!binary aGk=}", "kind: 0x1\nmetadata: {name: .nan}", "a: *a", "%YAML 1.3\n---\n{}"} {
		f.Add(uint8(0), uint8(2), []byte(body))
	}
	f.Fuzz(func(tt *testing.T, which, strict uint8, body []byte) {
		t.send(tt, http.MethodPost, t.of(which).path+"?"+validation(strict), body, yamlType).refused(tt)
	})
}

func FuzzProtobuf(f *testing.F) {
	t := start(f)
	for i, k := range t.kinds {
		if asProtobuf, _ := encode(f, k.json()); asProtobuf != nil {
			f.Add(uint8(i), asProtobuf)
		}
	}
	f.Add(uint8(0), []byte("k8s\x00"))
	f.Add(uint8(0), []byte("k8s\x00\x0a\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(tt *testing.T, which uint8, body []byte) {
		a := t.send(tt, http.MethodPost, t.of(which).path+"?dryRun=All", body, protobufType)
		if !a.refused(tt) && !json.Valid(a.body) {
			tt.Errorf("%q was answered", a.body)
		}
	})
}

// CBOR is not served: no byte of it may be read.
func FuzzCBOR(f *testing.F) {
	t := start(f)
	f.Add(uint8(0), []byte("\xd9\xd9\xf7\xa0"))
	f.Add(uint8(1), []byte("\xd9\xd9\xf7\xa2DkindCPodJapiVersionBv1"))
	f.Fuzz(func(tt *testing.T, which uint8, body []byte) {
		path := t.of(which).path + "?dryRun=All"
		if a := t.send(tt, http.MethodPost, path, body, cborType); a.code != http.StatusUnsupportedMediaType {
			tt.Errorf("a body of CBOR: %d %s", a.code, a.body)
		}
		if a := t.send(tt, http.MethodPatch, t.of(which).path+"/any?fieldManager=f&dryRun=All", body, "application/apply-patch+cbor"); a.code < http.StatusBadRequest {
			tt.Errorf("a patch of CBOR: %d %s", a.code, a.body)
		}
	})
}
