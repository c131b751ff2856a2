package attachdetach

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const disk = corev1.UniqueVolumeName("kubernetes.io/csi/d.example.com^disk")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func node(change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, f := range change {
		f(n)
	}
	return n
}

func unready(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }
func outOfService(n *corev1.Node) {
	n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
}
func reports(names ...corev1.UniqueVolumeName) func(*corev1.Node) {
	return func(n *corev1.Node) {
		for _, name := range names {
			n.Status.VolumesAttached = append(n.Status.VolumesAttached, corev1.AttachedVolume{Name: name})
		}
	}
}

func attachment(change ...func(*storagev1.VolumeAttachment)) *storagev1.VolumeAttachment {
	a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: AttachmentName("d.example.com", "disk", "n"), CreationTimestamp: metav1.NewTime(now)}}
	a.Spec.NodeName = "n"
	for _, f := range change {
		f(a)
	}
	return a
}

func done(a *storagev1.VolumeAttachment)  { a.Status.Attached = true }
func going(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &metav1.Time{Time: now} }
func failed(a *storagev1.VolumeAttachment) {
	a.Status.AttachError = &storagev1.VolumeError{Time: metav1.NewTime(now), Message: "no such disk"}
}
func old(age time.Duration) func(*storagev1.VolumeAttachment) {
	return func(a *storagev1.VolumeAttachment) { a.CreationTimestamp = metav1.NewTime(now.Add(-age)) }
}

func volume() *Volume {
	return &Volume{Name: disk, Title: "pv", Driver: "d.example.com", Handle: "disk", Exclusive: true}
}

// state puts together what a case needs.
func state(n *corev1.Node, a *storagev1.VolumeAttachment, change ...func(*State)) State {
	s := State{Name: "n", Node: n, Now: now, Elsewhere: func(*Volume) []Elsewhere { return nil }}
	if a != nil {
		s.Attachments = map[corev1.UniqueVolumeName]*storagev1.VolumeAttachment{disk: a}
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func wanted(s *State) { s.Wanted = map[corev1.UniqueVolumeName]*Volume{disk: volume()} }
func inUse(s *State)  { s.InUse = []corev1.UniqueVolumeName{disk} }
func since(age time.Duration) func(*State) {
	return func(s *State) { s.Since = map[corev1.UniqueVolumeName]time.Time{disk: now.Add(-age)} }
}

func TestPlan(t *testing.T) {
	const other = corev1.UniqueVolumeName("kubernetes.io/fc/disk")
	waiting := func(age time.Duration) map[corev1.UniqueVolumeName]time.Time {
		return map[corev1.UniqueVolumeName]time.Time{disk: now.Add(-age)}
	}
	report := []corev1.AttachedVolume{{Name: disk}}
	elsewhere := []Elsewhere{{Node: "m"}}
	for name, tt := range map[string]struct {
		state State
		want  Actions
	}{
		"nothing":                {state(node(), nil), Actions{}},
		"wanted":                 {state(node(), nil, wanted), Actions{Attach: []*Volume{volume()}}},
		"wanted, on another":     {state(node(), nil, wanted, func(s *State) { s.Elsewhere = func(*Volume) []Elsewhere { return elsewhere } }), Actions{Blocked: []Blocked{{volume(), elsewhere}}}},
		"attaching":              {state(node(), attachment(), wanted), Actions{Again: AttachTimeout}},
		"attaching for long":     {state(node(), attachment(old(5*time.Minute)), wanted), Actions{Again: time.Minute, Failed: []Failure{{volume(), timedOut(volume()), now.Add(-time.Minute)}}}},
		"refused":                {state(node(), attachment(failed), wanted), Actions{Failed: []Failure{{volume(), "no such disk", now}}}},
		"attached":               {state(node(), attachment(done), wanted), Actions{Report: report, Attached: []*Volume{volume()}}},
		"attached, reported":     {state(node(reports(disk)), attachment(done), wanted), Actions{Report: report}},
		"attached, no node":      {state(nil, attachment(done), wanted), Actions{}},
		"others' and stale ones": {state(node(reports(other, disk)), nil), Actions{Report: []corev1.AttachedVolume{{Name: other}}}},
		"wanted again":           {state(node(reports(disk)), attachment(done, going), wanted), Actions{}},
		"unwanted": {state(node(reports(disk)), attachment(done)), Actions{
			Since: waiting(0), Detach: []Detach{{Name: disk, Attachment: attachment(done), Verify: true}}}},
		"unwanted before it came": {state(node(), attachment()), Actions{Since: waiting(0), Detach: []Detach{{Name: disk, Attachment: attachment(), Verify: true}}}},
		"unwanted, going":         {state(node(), attachment(done, going)), Actions{}},
		"unwanted, in use":        {state(node(reports(disk)), attachment(done), inUse), Actions{Report: report, Since: waiting(0)}},
		"in use for long":         {state(node(reports(disk)), attachment(done), inUse, since(time.Hour)), Actions{Report: report, Since: waiting(time.Hour)}},
		"in use, unhealthy":       {state(node(reports(disk), unready), attachment(done), inUse, since(time.Minute)), Actions{Report: report, Since: waiting(time.Minute), Again: 5*time.Minute + time.Second}},
		"given up": {state(node(reports(disk), unready), attachment(done), inUse, since(7*time.Minute)), Actions{
			Since: waiting(7 * time.Minute), Detach: []Detach{{Name: disk, Attachment: attachment(done), Forced: "timeout"}}}},
		"out of service": {state(node(reports(disk), unready, outOfService), attachment(done), inUse), Actions{
			Since: waiting(0), Detach: []Detach{{Name: disk, Attachment: attachment(done), Forced: "out-of-service"}}}},
		"node gone": {state(nil, attachment(done), func(s *State) { s.AllInUse = true }), Actions{Since: waiting(0), Again: MaxWait + time.Second}},
		"node gone, not in use": {state(nil, attachment(done)), Actions{
			Since: waiting(0), Detach: []Detach{{Name: disk, Attachment: attachment(done), Verify: true}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Plan(tt.state), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIdentify(t *testing.T) {
	other := corev1.UniqueVolumeName("kubernetes.io/csi/d.example.com^other")
	if got := Identify(attachment(), []corev1.UniqueVolumeName{"", "kubernetes.io/csi/none", other, disk}); got != disk {
		t.Errorf("identified as %q", got)
	}
	if got := Identify(attachment(func(a *storagev1.VolumeAttachment) { a.Name = "mine" }), []corev1.UniqueVolumeName{disk}); got != "" {
		t.Errorf("a foreign attachment is %q", got)
	}
	// The sum of volumedrivernode.
	if got := AttachmentName("driver", "volume", "node"); got != "csi-d94279ecba6bb1a4dae95e5f896a0d7b6b60fb3af97abf98fb0c1bb2a80030a5" {
		t.Errorf("name %s", got)
	}
}

func TestWaiting(t *testing.T) {
	pod := func(namespace, name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	for want, pods := range map[string][]*corev1.Pod{
		`Waiting for detach for volume "pv" Volume is already exclusively attached to one node, waiting on detach before it can be attached to another node`: nil,
		`Waiting for detach for volume "pv" Volume is already used by pod(s) a, b`:                                                                           {pod("shop", "a"), pod("shop", "b")},
		`Waiting for detach for volume "pv" Volume is already used by pod(s) a and 1 pod(s) in different namespaces`:                                         {pod("shop", "a"), pod("bank", "b")},
		`Waiting for detach for volume "pv" Volume is already used by 2 pod(s) in different namespaces`:                                                      {pod("bank", "a"), pod("bank", "b")},
	} {
		if got := waiting(Blocked{volume(), []Elsewhere{{Node: "m", Pods: pods}}}, pod("shop", "web")); got != want {
			t.Errorf("%s\nnot %s", got, want)
		}
	}
	if got := message("AttachVolume.Attach succeeded", volume(), ""); got != `AttachVolume.Attach succeeded for volume "pv" ` {
		t.Errorf("message %q", got)
	}
}

func TestTerminatedAndExclusive(t *testing.T) {
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	ended := corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}
	for name, tt := range map[string]struct {
		deleted bool
		status  corev1.PodStatus
		want    bool
	}{
		"running":          {false, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{running}}, false},
		"succeeded":        {false, corev1.PodStatus{Phase: corev1.PodSucceeded}, true},
		"failed":           {false, corev1.PodStatus{Phase: corev1.PodFailed}, true},
		"crashing":         {false, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended}}, false},
		"deleted, running": {true, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended, running}}, false},
		"deleted, ended":   {true, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended}}, true},
	} {
		pod := &corev1.Pod{Status: tt.status}
		if tt.deleted {
			pod.DeletionTimestamp = &metav1.Time{Time: now}
		}
		if Terminated(pod) != tt.want {
			t.Errorf("%s: terminated is %v", name, !tt.want)
		}
	}
	for want, modes := range map[bool][][]corev1.PersistentVolumeAccessMode{
		true:  {{corev1.ReadWriteOnce}, {corev1.ReadWriteOncePod}},
		false: {nil, {corev1.ReadWriteOnce, corev1.ReadOnlyMany}, {corev1.ReadWriteMany}},
	} {
		for _, m := range modes {
			if exclusive(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{AccessModes: m}}) != want {
				t.Errorf("%v: exclusive is %v", m, !want)
			}
		}
	}
}
