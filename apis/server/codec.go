package server

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/versioning"

	"skiff/apis/resource"
	"skiff/apis/server/encoded"
	"skiff/apis/server/etcd"
)

// encodedItems is how many bytes of encoded items are kept while lists are read.
const encodedItems = 32 << 20

// newCodecs encodes lists item by item, so a large list is never held twice.
func newCodecs(s *runtime.Scheme) serializer.CodecFactory {
	return serializer.NewCodecFactory(s,
		serializer.WithStreamingCollectionEncodingToJSON(),
		serializer.WithStreamingCollectionEncodingToProtobuf())
}

// convertor "converts" an object whose Go type serves as version and hub: the
// kind is stamped on a shallow copy, since the object itself may be the watch
// cache's and shared by every reader.
type convertor struct{ *runtime.Scheme }

// ConvertToVersion implements runtime.ObjectConvertor.
func (c convertor) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	return c.UnsafeConvertToVersion(shallow(in), target)
}

func shallow(in runtime.Object) runtime.Object {
	v := reflect.ValueOf(in)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return in
	}
	out := reflect.New(v.Elem().Type())
	out.Elem().Set(v.Elem())
	return out.Interface().(runtime.Object)
}

// negotiated encodes answers without touching the answered object, and lists out
// of items encoded before.
type negotiated struct {
	serializer.CodecFactory
	scheme *runtime.Scheme
	types  []runtime.SerializerInfo
}

func newNegotiated(codecs serializer.CodecFactory, s *runtime.Scheme) negotiated {
	n := negotiated{codecs, s, slices.Clone(codecs.SupportedMediaTypes())}
	items := encoded.New(encodedItems)
	for i := range n.types {
		switch t := &n.types[i]; t.MediaType {
		case runtime.ContentTypeJSON:
			t.Serializer = items.JSON(t.Serializer)
		case runtime.ContentTypeProtobuf:
			t.StrictSerializer = sound{t.StrictSerializer, &sync.Map{}}
			t.Serializer = sound{items.Protobuf(t.Serializer), &sync.Map{}}
		}
	}
	return n
}

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (n negotiated) SupportedMediaTypes() []runtime.SerializerInfo { return n.types }

// sound refuses objects with fields that are to hold JSON and don't: protobuf
// carries any bytes there, and what is stored so can't be answered as JSON.
type sound struct {
	runtime.Serializer
	finders *sync.Map // of finder by reflect.Type
}

var errMalformedJSON = errors.New("a field of the object holds malformed JSON")

// Decode implements runtime.Decoder.
func (s sound) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, kind, err := s.Serializer.Decode(data, defaults, into)
	if err != nil {
		return obj, kind, err //nolint:wrapcheck // stands for the inner one
	}
	t := reflect.TypeOf(obj)
	find, ok := s.finders.Load(t)
	if !ok {
		find, _ = s.finders.LoadOrStore(t, malformed(t))
	}
	if find := find.(finder); find != nil && find(reflect.ValueOf(obj)) { //nolint:forcetypeassert // nothing else is stored
		return nil, kind, errMalformedJSON
	}
	return obj, kind, nil
}

// EncodeWithAllocator implements runtime.EncoderWithAllocator.
func (s sound) EncodeWithAllocator(obj runtime.Object, w io.Writer, m runtime.MemoryAllocator) error {
	if e, ok := s.Serializer.(runtime.EncoderWithAllocator); ok {
		return e.EncodeWithAllocator(obj, w, m) //nolint:wrapcheck // stands for the inner one
	}
	return s.Encode(obj, w)
}

// EncoderForVersion implements runtime.NegotiatedSerializer.
func (n negotiated) EncoderForVersion(e runtime.Encoder, target runtime.GroupVersioner) runtime.Encoder {
	return versioning.NewCodec(e, nil, convertor{n.scheme}, n.scheme, n.scheme, nil, target, nil, n.scheme.Name())
}

// storageCodec writes protobuf and decodes straight into the typed object.
type storageCodec struct {
	runtime.Encoder
	decoder runtime.Decoder
	scheme  *runtime.Scheme
	version schema.GroupVersion
}

// Version is the stored form, whose hash discovery tells.
func (c storageCodec) Version() runtime.GroupVersioner { return c.version }

// Decode implements runtime.Decoder. What is stored may be older than a default,
// and protobuf keeps no TypeMeta of embedded objects, so defaults are filled. In
// memory, objects carry no TypeMeta. An object that another group wrote under
// the same key (events) is converted.
func (c storageCodec) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	out, kind, err := c.decoder.Decode(data, gvk, into)
	if err != nil {
		return out, kind, err
	}
	c.scheme.Default(out)
	if into != nil && reflect.TypeOf(out) != reflect.TypeOf(into) {
		if err := c.scheme.Convert(out, into, nil); err != nil {
			return nil, kind, err
		}
		out = into
	}
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return out, kind, nil
}

// storageCodecs gives every built-in resource its codec. Resources that share
// their keys share the stored form: that of the first in the list.
func storageCodecs(s *runtime.Scheme, codecs serializer.CodecFactory, resources []resource.Resource) etcd.Codec {
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	version := map[string]schema.GroupVersion{}
	for _, r := range resources {
		key := etcd.BuiltInKey(r.GVR().GroupResource())
		if _, ok := version[key]; !ok {
			version[key] = r.GVR().GroupVersion()
		}
	}
	return func(gr schema.GroupResource) runtime.Codec {
		gv, ok := version[etcd.BuiltInKey(gr)]
		if !ok { // storage that no listed resource owns keeps its group's newest form
			gv = s.PrioritizedVersionsForGroup(gr.Group)[0]
		}
		enc := versioning.NewCodec(info.Serializer, nil, convertor{s}, s, s, nil, gv, nil, s.Name())
		return storageCodec{enc, codecs.UniversalDeserializer(), s, gv}
	}
}
