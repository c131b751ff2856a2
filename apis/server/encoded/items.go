// Package encoded answers lists out of items that were encoded before.
//
// Encoding is two thirds of what a list costs, and the items of one list are
// those of the next: an object of one UID and resourceVersion always looks the
// same on the wire. Items keeps these bytes while lists are read, up to a limit,
// and forgets what no list has needed for a while. Lists that are written the
// plain way (of custom resources, as a table, pretty, empty) pass through.
package encoded

import (
	"bufio"
	"reflect"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// forgetAfter is how long an item stays that no list needs, at most twice that.
	forgetAfter = 15 * time.Second
	// overhead is about what an item takes beside its bytes.
	overhead = 256
	// writeSize joins small items to writes that are worth a frame of their own.
	writeSize = 32 << 10
)

// Items are the encoded items of lists. It is safe for concurrent use.
type Items struct {
	limit   int       // bytes
	lists   sync.Map  // whether a reflect.Type is a list
	buffers sync.Pool // of *bufio.Writer

	mu     sync.Mutex
	kept   map[key]*item
	size   int // bytes
	round  int // counts the sweeps
	moving bool
}

// New makes an empty store that holds up to limit bytes.
func New(limit int) *Items {
	return &Items{
		limit: limit, kept: map[key]*item{},
		buffers: sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeSize) }},
	}
}

// form is an encoding.
type form byte

const (
	jsonForm form = iota
	protobufForm
)

// key tells items apart: list is the type of the list, which is another one for
// each version of a kind.
type key struct {
	list    reflect.Type
	form    form
	uid     types.UID
	version string
}

// ok reports whether the key stands for one content.
func (k key) ok() bool { return k.uid != "" && k.version != "" }

type item struct {
	data []byte // never changed
	used int    // the round in which it was last needed
}

// find answers what is known of the list's items, nil for those that are not.
func (s *Items) find(l list, f form) [][]byte {
	out := make([][]byte, l.len())
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) == 0 {
		return out
	}
	for i := range out {
		if known := s.kept[l.key(i, f)]; known != nil {
			known.used = s.round
			out[i] = known.data
		}
	}
	return out
}

// keep remembers an encoded item, if there is room.
func (s *Items) keep(k key, data []byte) {
	if !k.ok() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept[k] != nil || s.size+len(data)+overhead > s.limit {
		return
	}
	s.kept[k] = &item{data, s.round}
	s.size += len(data) + overhead
	s.sweepLater()
}

// full reports whether another item of that many bytes would not be kept.
func (s *Items) full(bytes int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size+bytes+overhead > s.limit
}

// sweepLater makes sure that a sweep comes, of which none is due when nothing is kept.
func (s *Items) sweepLater() {
	if !s.moving {
		s.moving = true
		time.AfterFunc(forgetAfter, s.sweep)
	}
}

// sweep forgets what no list has needed since the sweep before.
func (s *Items) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moving = false
	for k, known := range s.kept {
		if known.used < s.round {
			delete(s.kept, k)
			s.size -= len(known.data) + overhead
		}
	}
	s.round++
	if len(s.kept) > 0 {
		s.sweepLater()
	} else {
		s.kept = map[key]*item{} // a map never gives its room back
	}
}

// list is a list of a Go type that both encodings write in the standard way.
type list struct {
	kind  metav1.TypeMeta
	meta  metav1.ListMeta
	typ   reflect.Type
	items reflect.Value
}

func (l list) len() int { return l.items.Len() }

func (l list) at(i int) any { return l.items.Index(i).Addr().Interface() }

func (l list) key(i int, f form) key {
	m := l.at(i).(metav1.Object) //nolint:forcetypeassert // isList has seen it
	return key{l.typ, f, m.GetUID(), m.GetResourceVersion()}
}

// listOf answers obj as a list, and false if it is none, or has no items.
func (s *Items) listOf(obj any) (list, bool) {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() || !s.isList(v.Type().Elem()) {
		return list{}, false
	}
	v = v.Elem()
	l := list{typ: v.Type(), items: v.Field(2)}
	l.kind, _ = v.Field(0).Interface().(metav1.TypeMeta)
	l.meta, _ = v.Field(1).Interface().(metav1.ListMeta)
	return l, l.len() > 0
}

// forms are the tags that make a struct look as every list does, by field.
var forms = [3]struct{ json, protobuf string }{
	{"", ""}, // inline
	{"metadata,omitempty", "bytes,1,opt,name=metadata"},
	{"items", "bytes,2,rep,name=items"},
}

func (s *Items) isList(t reflect.Type) bool {
	known, ok := s.lists.Load(t)
	if !ok {
		known, _ = s.lists.LoadOrStore(t, looksLikeList(t))
	}
	return known.(bool) //nolint:forcetypeassert // nothing else is stored
}

func looksLikeList(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t.NumField() != len(forms) {
		return false
	}
	for i, want := range forms {
		if tag := t.Field(i).Tag; strings.TrimPrefix(tag.Get("json"), ",inline") != want.json || tag.Get("protobuf") != want.protobuf {
			return false
		}
	}
	items := t.Field(2).Type
	return t.Field(0).Type == reflect.TypeFor[metav1.TypeMeta]() && t.Field(1).Type == reflect.TypeFor[metav1.ListMeta]() &&
		items.Kind() == reflect.Slice && items.Elem().Kind() == reflect.Struct &&
		reflect.PointerTo(items.Elem()).Implements(reflect.TypeFor[metav1.Object]()) &&
		reflect.PointerTo(items.Elem()).Implements(reflect.TypeFor[message]())
}
