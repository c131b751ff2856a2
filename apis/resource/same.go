package resource

import (
	"bytes"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
)

// message is a type that writes itself as protobuf.
type message interface {
	Size() int
	MarshalToSizedBuffer(data []byte) (int, error)
}

// Same reports whether two values, best pointers to API types, mean the same, as
// equality.Semantic says. Most often they do, which their protobuf encodings show
// in a tenth of the time: what is written with the same bytes means the same.
func Same(a, b any) bool {
	x, ok := bytesOf(a)
	if ok {
		if y, ok := bytesOf(b); ok && bytes.Equal(x, y) {
			return true
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}

func bytesOf(a any) ([]byte, bool) {
	m, ok := a.(message)
	if v := reflect.ValueOf(a); !ok || v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, false
	}
	data := make([]byte, m.Size())
	_, err := m.MarshalToSizedBuffer(data)
	return data, err == nil
}
