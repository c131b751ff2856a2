package encoded

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// message is a type that writes itself as protobuf.
type message interface {
	Size() int
	MarshalToSizedBuffer(data []byte) (int, error)
}

// magic begins each object in Kubernetes' protobuf encoding.
var magic = []byte("k8s\x00")

// Tags of the fields of a list: its number, and that its length follows.
const (
	metaTag  = 1<<3 | 2
	itemsTag = 2<<3 | 2
)

// serializer writes lists by way of the store.
type serializer struct {
	runtime.Serializer
	items *Items
	write func(*Items, list, io.Writer) error
}

// JSON is s, which writes compact JSON, with lists out of the store.
func (s *Items) JSON(inner runtime.Serializer) runtime.Serializer {
	return serializer{inner, s, (*Items).writeJSON}
}

// Protobuf is s, which writes Kubernetes' protobuf encoding, with lists out of the store.
func (s *Items) Protobuf(inner runtime.Serializer) runtime.Serializer {
	return serializer{inner, s, (*Items).writeProtobuf}
}

// Encode implements runtime.Encoder.
func (s serializer) Encode(obj runtime.Object, w io.Writer) error {
	if l, ok := s.items.listOf(obj); ok {
		return s.write(s.items, l, w)
	}
	return s.Serializer.Encode(obj, w) //nolint:wrapcheck // stands for the inner one
}

// EncodeWithAllocator implements runtime.EncoderWithAllocator.
func (s serializer) EncodeWithAllocator(obj runtime.Object, w io.Writer, m runtime.MemoryAllocator) error {
	if l, ok := s.items.listOf(obj); ok {
		return s.write(s.items, l, w)
	}
	if e, ok := s.Serializer.(runtime.EncoderWithAllocator); ok {
		return e.EncodeWithAllocator(obj, w, m) //nolint:wrapcheck // stands for the inner one
	}
	return s.Serializer.Encode(obj, w) //nolint:wrapcheck // stands for the inner one
}

// buffered has fn write to w in large parts.
func (s *Items) buffered(w io.Writer, fn func(*bufio.Writer) error) error {
	b := s.buffers.Get().(*bufio.Writer) //nolint:forcetypeassert // nothing else is pooled
	b.Reset(w)
	defer func() {
		b.Reset(nil)
		s.buffers.Put(b)
	}()
	if err := fn(b); err != nil {
		return err
	}
	return b.Flush() //nolint:wrapcheck // the writer's own
}

// writeJSON writes the list as one line. The brace alone tells the response
// writer that the answer comes in parts.
func (s *Items) writeJSON(l list, w io.Writer) error {
	head, err := json.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
	}{l.kind, l.meta})
	if err != nil {
		return fmt.Errorf("encoding the metadata of a list: %w", err)
	}
	if _, err := w.Write(head[:1]); err != nil {
		return err //nolint:wrapcheck // the writer's own
	}
	known := s.find(l, jsonForm)
	return s.buffered(w, func(b *bufio.Writer) error {
		_, _ = b.Write(head[1 : len(head)-1]) // a bufio.Writer keeps its error
		_, _ = b.WriteString(`,"items":[`)
		var scratch bytes.Buffer
		encode := json.NewEncoder(&scratch)
		for i, data := range known {
			if data == nil {
				scratch.Reset()
				if err := encode.Encode(l.at(i)); err != nil {
					return fmt.Errorf("encoding an item: %w", err)
				}
				data = scratch.Bytes()[:scratch.Len()-1] // without the end of the line
				if !s.full(len(data)) {
					s.keep(l.key(i, jsonForm), bytes.Clone(data))
				}
			}
			if i > 0 {
				_ = b.WriteByte(',')
			}
			_, _ = b.Write(data)
		}
		_, err := b.WriteString("]}\n")
		return err //nolint:wrapcheck // the writer's own
	})
}

// writeProtobuf writes the list inside the runtime.Unknown that every object is
// wrapped in. The magic alone tells the response writer that the answer comes in
// parts.
func (s *Items) writeProtobuf(l list, w io.Writer) error {
	known := s.find(l, protobufForm)
	sizes := make([]int, len(known))
	size := l.meta.Size()
	total := lengthOf(size)
	for i, data := range known {
		if sizes[i] = len(data); data == nil {
			sizes[i] = l.at(i).(message).Size() //nolint:forcetypeassert // isList has seen it
		}
		total += lengthOf(sizes[i])
	}
	if _, err := w.Write(magic); err != nil {
		return err //nolint:wrapcheck // the writer's own
	}
	gvk := schema.FromAPIVersionAndKind(l.kind.APIVersion, l.kind.Kind)
	wrapped := runtime.Unknown{TypeMeta: runtime.TypeMeta{Kind: gvk.Kind, APIVersion: gvk.GroupVersion().String()}}
	return s.buffered(w, func(b *bufio.Writer) error {
		_, err := wrapped.MarshalToWriter(b, total, func(io.Writer) (int, error) {
			head, err := l.meta.Marshal()
			if err != nil {
				return 0, fmt.Errorf("encoding the metadata of a list: %w", err)
			}
			field(b, metaTag, head)
			return total, s.writeMessages(l, known, sizes, b)
		})
		return err //nolint:wrapcheck // has its words
	})
}

func (s *Items) writeMessages(l list, known [][]byte, sizes []int, b *bufio.Writer) error {
	var scratch []byte
	for i, data := range known {
		if data == nil {
			into, kept := scratch, !s.full(sizes[i]) && l.key(i, protobufForm).ok()
			switch {
			case kept:
				into = make([]byte, sizes[i])
			case cap(scratch) < sizes[i]:
				scratch = make([]byte, 2*sizes[i])
				into = scratch
			}
			data = into[:sizes[i]]
			if _, err := l.at(i).(message).MarshalToSizedBuffer(data); err != nil { //nolint:forcetypeassert // isList has seen it
				return fmt.Errorf("encoding an item: %w", err)
			}
			if kept {
				s.keep(l.key(i, protobufForm), data)
			}
		}
		field(b, itemsTag, data)
	}
	return nil
}

// field writes a field of bytes; b keeps the error.
func field(b *bufio.Writer, tag byte, data []byte) {
	_, _ = b.Write(binary.AppendUvarint(append(b.AvailableBuffer(), tag), uint64(len(data))))
	_, _ = b.Write(data)
}

// lengthOf is how many bytes a field of size bytes takes.
func lengthOf(size int) int {
	var head [binary.MaxVarintLen64]byte
	return 1 + binary.PutUvarint(head[:], uint64(size)) + size //nolint:gosec // a length
}
