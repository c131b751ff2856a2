package attachdetach

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

const (
	// MaxWait is how long an unhealthy node may keep a volume that it says is in use.
	MaxWait = 6 * time.Minute
	// AttachTimeout is after what time without an answer of the driver users are told.
	AttachTimeout = 2 * time.Minute
)

// Volume is a volume of CSI that pods on one node want attached to it.
type Volume struct {
	// Name is the name in nodes' statuses, Title the one in messages.
	Name   corev1.UniqueVolumeName
	Title  string
	Driver string
	Handle string
	Source storagev1.VolumeAttachmentSource
	// Exclusive says that it may be attached to one node at a time only.
	Exclusive bool
	Pods      []*corev1.Pod
}

// Elsewhere is another node that an exclusive volume is attached to.
type Elsewhere struct {
	Node string
	Pods []*corev1.Pod
	// Leaving says that it is about to be detached, so that nobody need be told.
	Leaving bool
}

// State is what there is on one node.
type State struct {
	Name string
	// Node is nil if there is none of that name (any more).
	Node *corev1.Node
	// InUse are the volumes that the node says it uses; AllInUse if that is not known.
	InUse    []corev1.UniqueVolumeName
	AllInUse bool
	Wanted   map[corev1.UniqueVolumeName]*Volume
	// Attachments are the attachments to this node that this controller makes and deletes.
	Attachments map[corev1.UniqueVolumeName]*storagev1.VolumeAttachment
	// Elsewhere answers the other nodes of a volume.
	Elsewhere func(*Volume) []Elsewhere
	// Since is when a volume was first found attached and not wanted.
	Since map[corev1.UniqueVolumeName]time.Time
	Now   time.Time
}

// Detach is one attachment that goes.
type Detach struct {
	Name       corev1.UniqueVolumeName
	Attachment *storagev1.VolumeAttachment
	// Verify asks to make sure that the node does not use the volume.
	Verify bool
	// Forced is the reason why that is not asked for: "timeout" or "out-of-service".
	Forced string
}

// Blocked is a volume that can't be attached before it is detached from other nodes.
type Blocked struct {
	Volume *Volume
	Nodes  []Elsewhere
}

// Failure is an attachment that did not work at that time.
type Failure struct {
	Volume  *Volume
	Message string
	At      time.Time
}

// Actions is what is to be done for a node. Before any volume is detached its status must no longer report it.
type Actions struct {
	Report   []corev1.AttachedVolume
	Detach   []Detach
	Attach   []*Volume
	Attached []*Volume
	Blocked  []Blocked
	Failed   []Failure
	// Since is the next State's.
	Since map[corev1.UniqueVolumeName]time.Time
	// Again is after what time without an event to look again; 0 for never.
	Again time.Duration
}

// Plan decides what is to be done for a node.
func Plan(s State) Actions {
	a := Actions{Since: map[corev1.UniqueVolumeName]time.Time{}}
	for _, name := range sorted(s.Attachments) {
		if s.Wanted[name] == nil && s.Attachments[name].DeletionTimestamp == nil {
			a.detach(s, name)
		}
	}
	for _, name := range sorted(s.Wanted) {
		a.attach(s, s.Wanted[name])
	}
	a.report(s)
	return a
}

func (a *Actions) detach(s State, name corev1.UniqueVolumeName) {
	since, known := s.Since[name]
	if !known {
		since = s.Now
	}
	a.Since[name] = since
	left := MaxWait - s.Now.Sub(since)
	expired := left < 0
	outOfService := s.Node != nil && slices.ContainsFunc(s.Node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
	inUse := s.AllInUse || slices.Contains(s.InUse, name)
	if inUse && !outOfService && (!expired || healthy(s.Node)) {
		if !healthy(s.Node) {
			a.again(left + time.Second)
		}
		return
	}
	d := Detach{Name: name, Attachment: s.Attachments[name], Verify: !expired && !outOfService}
	switch {
	case expired:
		d.Forced = "timeout"
	case outOfService:
		d.Forced = "out-of-service"
	}
	a.Detach = append(a.Detach, d)
}

func healthy(node *corev1.Node) bool {
	return node != nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func (a *Actions) again(in time.Duration) {
	if a.Again == 0 || in < a.Again {
		a.Again = in
	}
}

func (a *Actions) attach(s State, v *Volume) {
	there := s.Attachments[v.Name]
	switch {
	case there == nil:
		var others []Elsewhere
		if v.Exclusive {
			others = s.Elsewhere(v)
		}
		if len(others) > 0 {
			a.Blocked = append(a.Blocked, Blocked{Volume: v, Nodes: others})
		} else {
			a.Attach = append(a.Attach, v)
		}
	case there.DeletionTimestamp != nil: // its end brings the node back
	case there.Status.Attached:
		if s.Node != nil && !reported(s.Node, v.Name) {
			a.Attached = append(a.Attached, v)
		}
	case there.Status.AttachError != nil:
		a.Failed = append(a.Failed, Failure{Volume: v, Message: there.Status.AttachError.Message, At: there.Status.AttachError.Time.Time})
	default:
		a.late(s, v, there.CreationTimestamp.Time)
	}
}

// late tells again each time that another timeout has passed.
func (a *Actions) late(s State, v *Volume, created time.Time) {
	passed := max(0, s.Now.Sub(created)/AttachTimeout)
	if passed > 0 {
		a.Failed = append(a.Failed, Failure{Volume: v, Message: timedOut(v), At: created.Add(passed * AttachTimeout)})
	}
	a.again(created.Add((passed + 1) * AttachTimeout).Sub(s.Now))
}

func reported(node *corev1.Node, name corev1.UniqueVolumeName) bool {
	return slices.ContainsFunc(node.Status.VolumesAttached, func(v corev1.AttachedVolume) bool { return v.Name == name })
}

// report lists the volumes that the kubelet may mount: those that are attached and stay. What others than CSI report
// is left alone.
func (a *Actions) report(s State) {
	if s.Node == nil {
		return
	}
	stays := func(name corev1.UniqueVolumeName) bool {
		there := s.Attachments[name]
		return there != nil && there.Status.Attached && there.DeletionTimestamp == nil &&
			!slices.ContainsFunc(a.Detach, func(d Detach) bool { return d.Name == name })
	}
	for _, v := range s.Node.Status.VolumesAttached {
		if !strings.HasPrefix(string(v.Name), plugin+"/") || stays(v.Name) {
			a.Report = append(a.Report, v)
		}
	}
	for _, name := range sorted(s.Attachments) {
		if stays(name) && !reported(s.Node, name) {
			a.Report = append(a.Report, corev1.AttachedVolume{Name: name})
		}
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
