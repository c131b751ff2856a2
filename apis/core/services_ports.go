package core

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/klog/v2"
)

const (
	// portPrefix is where the store keeps node ports, one key a port.
	portPrefix = "/ranges/servicenodeports"
	// guesses is how many ports are tried before all taken ones are read.
	guesses = 4
)

var errTakenPort = errors.New("provided port is already allocated")

// nodePorts gives Services their node ports. Whoever creates a port's key in
// the store has it, so servers that share an etcd agree, and none waits for
// another: there is no common record to write.
type nodePorts struct {
	valid utilnet.PortRange
	store storage.Interface
	close func()
}

// open finds the store.
func (p *nodePorts) open(opts generic.RESTOptionsGetter) error {
	gr := schema.GroupResource{Resource: "rangeallocations"}
	o, err := opts.GetRESTOptions(gr, &corev1.RangeAllocation{})
	if err != nil {
		return fmt.Errorf("storage of node ports: %w", err)
	}
	p.store, p.close, err = o.Decorator(o.StorageConfig, portPrefix, keyOfPort,
		func() runtime.Object { return &corev1.RangeAllocation{} },
		func() runtime.Object { return &RangeAllocationList{} }, noAttributes, nil, nil)
	if err != nil {
		return fmt.Errorf("storage of node ports: %w", err)
	}
	return nil
}

func noAttributes(runtime.Object) (labels.Set, fields.Set, error) { return nil, nil, nil }

func keyOfPort(o runtime.Object) (string, error) {
	r, ok := o.(*corev1.RangeAllocation)
	if !ok {
		return "", fmt.Errorf("no node port: %T", o)
	}
	return portPrefix + "/" + r.Name, nil
}

func portKey(port int32) string { return portPrefix + "/" + strconv.Itoa(int(port)) }

// RangeAllocationList is what the store answers for all node ports. It is
// never served.
type RangeAllocationList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []corev1.RangeAllocation
}

// DeepCopyObject implements runtime.Object.
func (l *RangeAllocationList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = make([]corev1.RangeAllocation, len(l.Items))
	for i := range l.Items {
		l.Items[i].DeepCopyInto(&out.Items[i])
	}
	return &out
}

// take reserves the port for the Service.
func (p *nodePorts) take(ctx context.Context, svc *corev1.Service, port int32) error {
	err := p.create(ctx, svc, port)
	count("static", err)
	return err
}

func (p *nodePorts) create(ctx context.Context, svc *corev1.Service, port int32) error {
	if !p.valid.Contains(int(port)) {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", p.valid)
	}
	// Range, a text, says whose the port is
	record := &corev1.RangeAllocation{
		ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(int(port)), CreationTimestamp: metav1.Now()},
		Range:      svc.Namespace + "/" + svc.Name,
	}
	err := p.store.Create(ctx, portKey(port), record, nil, 0)
	if storage.IsExist(err) {
		return errTakenPort
	}
	if err == nil {
		portsAllocated.Inc()
		portsAvailable.Dec()
	}
	return err
}

func count(scope string, err error) {
	if err != nil {
		portErrors.WithLabelValues(scope).Inc()
	} else {
		portAllocations.WithLabelValues(scope).Inc()
	}
}

// next reserves a free port, one of the static band only if there is no other.
func (p *nodePorts) next(ctx context.Context, svc *corev1.Service) (port int32, err error) {
	defer func() { count("dynamic", err) }()
	size := uint64(p.valid.Size) //nolint:gosec // positive
	static := int(band(size, 32, 16, 128))
	for range guesses {
		port = int32(p.valid.Base + static + rand.IntN(p.valid.Size-static)) //nolint:gosec // a port, and no secret
		if err = p.create(ctx, svc, port); !errors.Is(err, errTakenPort) {
			return port, err
		}
	}
	return p.search(ctx, svc, static)
}

// search tries every port that is not taken.
func (p *nodePorts) search(ctx context.Context, svc *corev1.Service, static int) (int32, error) {
	taken, err := p.list(ctx)
	if err != nil {
		return 0, err
	}
	for _, band := range [][2]int{{static, p.valid.Size}, {0, static}} {
		for _, i := range rand.Perm(band[1] - band[0]) {
			port := int32(p.valid.Base + band[0] + i) //nolint:gosec // a port
			if _, ok := taken[port]; ok {
				continue
			}
			if err := p.create(ctx, svc, port); !errors.Is(err, errTakenPort) {
				return port, err
			}
		}
	}
	return 0, errFull
}

// free gives the port back. What is not there any more is no error.
func (p *nodePorts) free(ctx context.Context, port int32) {
	out := &corev1.RangeAllocation{}
	err := p.store.Delete(ctx, portKey(port), out, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err == nil {
		portsAllocated.Dec()
		portsAvailable.Inc()
	} else if !storage.IsNotFound(err) {
		klog.FromContext(ctx).Error(err, "Releasing a node port; the repair loop will", "port", port)
	}
}

// has reports whether the port is taken.
func (p *nodePorts) has(ctx context.Context, port int32) (bool, error) {
	err := p.store.Get(ctx, portKey(port), storage.GetOptions{}, &corev1.RangeAllocation{})
	if storage.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// portRecord is one key of the store.
type portRecord struct {
	owner   string // namespace/name of the Service
	created time.Time
}

// list reads which ports are taken, of any range.
func (p *nodePorts) list(ctx context.Context) (map[int32]portRecord, error) {
	l := &RangeAllocationList{}
	if err := p.store.GetList(ctx, portPrefix, storage.ListOptions{Recursive: true, Predicate: storage.Everything}, l); err != nil {
		return nil, fmt.Errorf("reading node ports: %w", err)
	}
	out := map[int32]portRecord{}
	for i := range l.Items {
		if n, err := strconv.ParseInt(l.Items[i].Name, 10, 32); err == nil {
			out[int32(n)] = portRecord{l.Items[i].Range, l.Items[i].CreationTimestamp.Time}
		}
	}
	return out, nil
}
