package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"skiff/kubelet/csi"
	"skiff/kubelet/objects"
)

// Config says where volumes live.
type Config struct {
	// Root is the kubelet's directory; pods' volumes live below Root/pods.
	Root string
}

// Deps is what volumes are made from.
type Deps struct {
	// Client speaks as the node. It reads claims, volumes and trust bundles and requests service account tokens.
	Client kubernetes.Interface
	// Informers hold the ConfigMaps and Secrets.
	Informers informers.SharedInformerFactory
	// Allocatable answers what the node can allocate, for limits a container does not set.
	Allocatable func() corev1.ResourceList
	// Drivers are the node's CSI drivers; none when nil.
	Drivers *csi.Drivers
	// InUse, if set, is called when VolumesInUse changed, for the node's status to say so soon.
	InUse func()
	// Events, if set, tells users what becomes of pods' certificates and of volumes that grow.
	Events record.EventRecorder
	// Wake, if set, is told of a pod whose last Mount failed and may now succeed because an object it uses changed.
	Wake func(types.UID)
}

// Manager mounts and unmounts the volumes of this node's pods. Its methods are safe for concurrent use.
type Manager struct {
	root    string
	objects *objects.Reader
	kinds   []kind
	wake    func(types.UID)
	agenda  *agenda
	stale   *agenda // pods whose volumes are to be measured
	pods    cache.SharedIndexInformer
	csi     *csiVolumes

	mu      sync.Mutex
	tracked map[types.UID]*tracked
}

// tracked is one pod the manager has been asked to mount. Its lock orders everything done to the pod's directory.
type tracked struct {
	usage usage
	refs  atomic.Pointer[map[objects.Ref]bool] // objects its content comes from

	mu      sync.Mutex
	pod     *corev1.Pod
	mounted bool
	paths   map[string]string // of the last Mount
	gone    bool
	tokens  tokenCache
	issued  certificates
	// provided is what this process provided of drivers, by volume name.
	provided map[string]*csiState
	retry    time.Duration // of the last failed refresh, 0 after a good one
}

// volume is one volume of one pod as its kind sees it.
type volume struct {
	pod    *corev1.Pod
	spec   *corev1.Volume
	dir    string // where the kind keeps it, below the pod's directory
	tokens tokenCache
	issued certificates
	// provided is the pod's, by volume name.
	provided map[string]*csiState
}

// kind is one way to provide a volume.
type kind interface {
	// dir is the kind's directory name below the pod's volumes.
	dir() string
	// owns says whether the volume is of this kind.
	owns(spec *corev1.Volume) bool
	// setUp makes the volume ready, answering its host path and, if its content ages, when to set it up again. With an
	// error, renew is when another attempt may succeed without anything else happening.
	setUp(ctx context.Context, v *volume) (path string, renew time.Time, err error)
}

// Error is the failure of one volume. Its text is the message of the FailedMount event.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// New makes a manager. It registers informers, so it has to run before the factory is started.
func New(config Config, deps Deps) (_ *Manager, err error) {
	if !filepath.IsAbs(config.Root) {
		return nil, fmt.Errorf("volumes need an absolute root directory, not %q", config.Root)
	}
	m := &Manager{
		root:    config.Root,
		objects: objects.New(deps.Client, deps.Informers),
		wake:    deps.Wake,
		agenda:  newAgenda(),
		stale:   newAgenda(),
		tracked: map[types.UID]*tracked{},
	}
	if m.csi, err = newCSI(config, deps, m.objects); err != nil {
		return nil, err
	}
	m.kinds = allKinds(m.objects, deps, m.csi)
	m.pods = deps.Informers.Core().V1().Pods().Informer()
	if err := m.objects.Watch(m.objectChanged); err != nil {
		return nil, err
	}
	if _, err := m.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: m.podChanged}); err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	return m, nil
}

// allKinds is the one list of the kinds of volume.
func allKinds(reader *objects.Reader, deps Deps, drivers *csiVolumes) []kind {
	return []kind{
		emptyDir{allocatable: deps.Allocatable},
		hostPath{},
		configMaps(reader),
		secrets(reader),
		downwardAPI(deps.Allocatable),
		projected(newProjections(reader, deps)),
		nfs{},
		drivers,
		claim{client: deps.Client, csi: drivers, translate: drivers.translate},
	}
}

// Mount makes every volume of the pod ready and answers their host paths by volume name. It is idempotent. Image
// volumes have no path: the container runtime mounts them itself. The error joins one *Error for each failed volume.
func (m *Manager) Mount(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	t := m.track(pod)
	t.mu.Lock()
	defer t.mu.Unlock()
	refs := refsOf(pod)
	t.refs.Store(&refs)
	t.pod, t.gone = pod, false
	paths, renew, err := m.setUp(ctx, t, anyKind)
	t.mounted, t.paths = err == nil, paths
	if !renew.IsZero() {
		m.agenda.add(pod.UID, renew)
	}
	return maps.Clone(paths), err
}

// Unmount removes every volume of the pod, and with them the pod's directory if nothing else is left in it.
func (m *Manager) Unmount(ctx context.Context, uid types.UID) error {
	if uid == "" || filepath.Base(string(uid)) != string(uid) || uid == ".." || uid == "." {
		return fmt.Errorf("unmounting volumes: %q is no pod UID", uid)
	}
	if t := m.lookup(uid); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.gone, t.mounted = true, false
		clear(t.provided)
	}
	if err := m.tearDown(ctx, uid); err != nil {
		return fmt.Errorf("unmounting volumes of pod %s: %w", uid, err)
	}
	m.mu.Lock()
	delete(m.tracked, uid)
	m.mu.Unlock()
	m.agenda.drop(uid)
	m.stale.drop(uid)
	return nil
}

// Path answers the host path of a volume of a pod that is mounted.
func (m *Manager) Path(pod *corev1.Pod, name string) (string, error) {
	t := m.lookup(pod.UID)
	if t == nil {
		return "", fmt.Errorf("pod %s/%s has no volumes mounted", pod.Namespace, pod.Name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	path, ok := t.paths[name]
	if !ok {
		return "", fmt.Errorf("volume %q is not mounted", name)
	}
	return path, nil
}

// Pods answers the pods that have a directory on this host, mounted by this process or an earlier one.
func (m *Manager) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(m.root, "pods"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listing pod directories: %w", err)
	}
	uids := make([]types.UID, 0, len(entries))
	for _, entry := range entries {
		uids = append(uids, types.UID(entry.Name()))
	}
	return uids, nil
}

// track answers the pod's record, making one if there is none.
func (m *Manager) track(pod *corev1.Pod) *tracked {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tracked[pod.UID]
	if !ok {
		t = &tracked{tokens: tokenCache{}, issued: certificates{}, provided: map[string]*csiState{}}
		m.tracked[pod.UID] = t
	}
	return t
}

func (m *Manager) lookup(uid types.UID) *tracked {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tracked[uid]
}

// setUp sets up the volumes of the wanted kinds of a pod whose lock is held. renew is the earliest time one ages out.
func (m *Manager) setUp(ctx context.Context, t *tracked, wanted func(kind, *corev1.Volume) bool) (paths map[string]string, renew time.Time, err error) {
	t.pod = m.newest(t.pod)
	paths = make(map[string]string, len(t.pod.Spec.Volumes))
	var failures []error
	for i := range t.pod.Spec.Volumes {
		spec := &t.pod.Spec.Volumes[i]
		if spec.Image != nil {
			continue
		}
		k, err := m.kindOf(spec)
		if err == nil && !wanted(k, spec) {
			continue
		}
		var path string
		var again time.Time
		if err == nil {
			path, again, err = k.setUp(ctx, t.volume(spec, filepath.Join(m.podDir(t.pod.UID), "volumes", k.dir())))
		}
		renew = earliest(renew, again)
		if err != nil {
			failures = append(failures, &Error{Volume: spec.Name, Err: err})
			continue
		}
		paths[spec.Name] = path
	}
	return paths, renew, errors.Join(failures...)
}

// newest is the pod as the API has it now, whose labels may have changed; or the pod itself if the API does not know it.
func (m *Manager) newest(pod *corev1.Pod) *corev1.Pod {
	found, ok, err := m.pods.GetStore().GetByKey(pod.Namespace + "/" + pod.Name)
	if err != nil || !ok {
		return pod
	}
	if current, ok := found.(*corev1.Pod); ok && current.UID == pod.UID {
		return current
	}
	return pod
}

func (m *Manager) kindOf(spec *corev1.Volume) (kind, error) {
	at := slices.IndexFunc(m.kinds, func(k kind) bool { return k.owns(spec) })
	if at < 0 {
		return nil, errors.New("no volume plugin matched")
	}
	return m.kinds[at], nil
}

func anyKind(kind, *corev1.Volume) bool { return true }

func (t *tracked) volume(spec *corev1.Volume, kindDir string) *volume {
	return &volume{pod: t.pod, spec: spec, dir: filepath.Join(kindDir, spec.Name), tokens: t.tokens, issued: t.issued, provided: t.provided}
}

func (m *Manager) podDir(uid types.UID) string {
	return filepath.Join(m.root, "pods", string(uid))
}

// earliest is the earlier of two times, of which the zero one means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
