package objects

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"skiff/internal/podrefs"
)

// Wanted follows just the ConfigMaps and Secrets that the pods of a node name, one watch for each: a node may read no
// others (the node authorizer). It gives them to the informers of a factory, from which Reader answers as from
// complete ones. While the API does not know yet that a pod uses an object it refuses, and is asked again.
type Wanted struct {
	client  kubernetes.Interface
	secrets *feed
	maps    *feed

	mu   sync.Mutex
	pods map[types.UID][]Ref
	uses map[Ref]*use
	// ctx bounds the watches; it is Run's.
	ctx   context.Context //nolint:containedctx // set by Run, for events that come while it runs
	group sync.WaitGroup
}

// use is an object with the number of pods that name it.
type use struct {
	pods   int
	cancel context.CancelFunc // nil before Run
}

// NewWanted makes factory's informers of ConfigMaps and Secrets follow what the pods of its informer name. It has to run
// before anything else asks the factory for them; all pods of the informer must be the node's.
func NewWanted(client kubernetes.Interface, factory informers.SharedInformerFactory) (*Wanted, error) {
	w := &Wanted{
		client:  client,
		secrets: newFeed(func() runtime.Object { return &corev1.SecretList{} }),
		maps:    newFeed(func() runtime.Object { return &corev1.ConfigMapList{} }),
		pods:    map[types.UID][]Ref{}, uses: map[Ref]*use{},
	}
	byNamespace := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	factory.InformerFor(&corev1.Secret{}, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(w.secrets, &corev1.Secret{}, 0, byNamespace)
	})
	factory.InformerFor(&corev1.ConfigMap{}, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(w.maps, &corev1.ConfigMap{}, 0, byNamespace)
	})
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { w.set(o, true) }, UpdateFunc: func(_, o any) { w.set(o, true) }, DeleteFunc: func(o any) { w.set(o, false) },
	})
	return w, err
}

// Run follows the objects until ctx ends.
func (w *Wanted) Run(ctx context.Context) error {
	w.mu.Lock()
	w.ctx = ctx
	for ref, u := range w.uses {
		w.start(ref, u)
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	w.ctx = nil
	w.mu.Unlock()
	w.group.Wait()
	return nil
}

// set notes what a pod names, nothing once it is gone.
func (w *Wanted) set(object any, there bool) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	var refs []Ref
	if there {
		refs = refsOf(pod)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.pods[pod.UID]
	if w.pods[pod.UID] = refs; !there {
		delete(w.pods, pod.UID)
	}
	for _, ref := range refs { // first, so that what both name stays
		w.add(ref)
	}
	for _, ref := range before {
		w.drop(ref)
	}
}

// refsOf is what a pod names, each object once.
func refsOf(pod *corev1.Pod) []Ref {
	seen := map[Ref]bool{}
	names := podrefs.Of(pod)
	for kind, list := range map[Kind][]string{Secret: names.Secrets, ConfigMap: names.ConfigMaps} {
		for _, name := range list {
			if name != "" {
				seen[Ref{kind, pod.Namespace, name}] = true
			}
		}
	}
	out := make([]Ref, 0, len(seen))
	for ref := range seen {
		out = append(out, ref)
	}
	return out
}

func (w *Wanted) add(ref Ref) {
	if w.uses[ref] == nil {
		w.uses[ref] = &use{}
		w.start(ref, w.uses[ref])
	}
	w.uses[ref].pods++
}

func (w *Wanted) drop(ref Ref) {
	u := w.uses[ref]
	if u == nil {
		return
	}
	if u.pods--; u.pods > 0 {
		return
	}
	delete(w.uses, ref)
	if u.cancel != nil {
		u.cancel()
	}
}

// start follows an object; w.mu is held.
func (w *Wanted) start(ref Ref, u *use) {
	if w.ctx == nil || w.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	u.cancel = cancel
	w.group.Go(func() {
		defer cancel()
		w.follow(ctx, ref)
	})
}

// follow brings one object to its feed until ctx ends.
func (w *Wanted) follow(ctx context.Context, ref Ref) {
	to, like := w.maps, runtime.Object(&corev1.ConfigMap{})
	if ref.Kind == Secret {
		to, like = w.secrets, &corev1.Secret{}
	}
	target := single{feed: to, key: types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}}
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(w.listWatch(ref), w.client), like, target, cache.ReflectorOptions{Name: "wanted " + string(ref.Kind)})
	reflector.RunWithContext(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.uses[ref] == nil { // no pod names it any more, nor again
		target.feed.put(target.key, nil)
	}
}

func (w *Wanted) listWatch(ref Ref) *cache.ListWatch {
	narrow := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, ref.Name).String()
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			narrow(&o)
			if ref.Kind == Secret {
				return w.client.CoreV1().Secrets(ref.Namespace).List(ctx, o)
			}
			return w.client.CoreV1().ConfigMaps(ref.Namespace).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			narrow(&o)
			if ref.Kind == Secret {
				return w.client.CoreV1().Secrets(ref.Namespace).Watch(ctx, o)
			}
			return w.client.CoreV1().ConfigMaps(ref.Namespace).Watch(ctx, o)
		},
	}
}

// feed is what an informer lists and watches: the objects that were put into it.
type feed struct {
	empty func() runtime.Object // an empty list

	mu      sync.Mutex
	objects map[types.NamespacedName]runtime.Object
	queue   []watch.Event
	more    chan struct{}
}

func newFeed(empty func() runtime.Object) *feed {
	return &feed{empty: empty, objects: map[types.NamespacedName]runtime.Object{}, more: make(chan struct{}, 1)}
}

// put sets an object, or removes it with nil.
func (f *feed) put(key types.NamespacedName, object runtime.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, there := f.objects[key]
	switch {
	case object == nil && !there:
		return
	case object == nil:
		delete(f.objects, key)
		f.tell(watch.Deleted, before)
	default:
		f.objects[key] = object
		kind := watch.Added
		if there {
			kind = watch.Modified
		}
		f.tell(kind, object)
	}
}

func (f *feed) tell(kind watch.EventType, object runtime.Object) {
	f.queue = append(f.queue, watch.Event{Type: kind, Object: object})
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// List implements cache.ListerWatcher.
func (f *feed) List(metav1.ListOptions) (runtime.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = nil // the list has it
	list := f.empty()
	switch l := list.(type) {
	case *corev1.SecretList:
		l.ResourceVersion = "1"
		for _, o := range f.objects {
			l.Items = append(l.Items, *o.(*corev1.Secret))
		}
	case *corev1.ConfigMapList:
		l.ResourceVersion = "1"
		for _, o := range f.objects {
			l.Items = append(l.Items, *o.(*corev1.ConfigMap))
		}
	}
	return list, nil
}

// Watch implements cache.ListerWatcher: what was put in since the last list. One watch is open at a time.
func (f *feed) Watch(metav1.ListOptions) (watch.Interface, error) { return newTail(f), nil }

// IsWatchListSemanticsUnSupported tells the informer to list first.
func (f *feed) IsWatchListSemanticsUnSupported() bool { return true }

// tail is an open watch of a feed.
type tail struct {
	out  chan watch.Event
	stop chan struct{}
	once sync.Once
}

func newTail(f *feed) *tail {
	t := &tail{out: make(chan watch.Event), stop: make(chan struct{})}
	go func() { // ends with Stop, which the informer calls
		defer close(t.out)
		for {
			f.mu.Lock()
			events := f.queue
			f.queue = nil
			f.mu.Unlock()
			for _, e := range events {
				select {
				case t.out <- e:
				case <-t.stop:
					return
				}
			}
			select {
			case <-f.more:
			case <-t.stop:
				return
			}
		}
	}()
	return t
}

// Stop implements watch.Interface.
func (t *tail) Stop() { t.once.Do(func() { close(t.stop) }) }

// ResultChan implements watch.Interface.
func (t *tail) ResultChan() <-chan watch.Event { return t.out }

// single is the store of a reflector of one object.
type single struct {
	feed *feed
	key  types.NamespacedName
}

func (s single) put(o any) error {
	object, ok := o.(runtime.Object)
	if m, named := o.(metav1.Object); !ok || !named || m.GetName() != s.key.Name {
		return nil // not what was asked for
	}
	s.feed.put(s.key, object)
	return nil
}

// Add implements cache.ReflectorStore, as do the others.
func (s single) Add(o any) error    { return s.put(o) }
func (s single) Update(o any) error { return s.put(o) }
func (s single) Resync() error      { return nil }

// Delete implements cache.ReflectorStore.
func (s single) Delete(o any) error {
	if m, named := o.(metav1.Object); named && m.GetName() == s.key.Name {
		s.feed.put(s.key, nil)
	}
	return nil
}

// Replace takes a list that has the object or not.
func (s single) Replace(list []any, _ string) error {
	for _, o := range list {
		if m, named := o.(metav1.Object); named && m.GetName() == s.key.Name {
			return s.put(o)
		}
	}
	s.feed.put(s.key, nil)
	return nil
}
