package attachdetach

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"skiff/controllers/internal/controller"
)

// TestDetachAsksTheNode spares a volume that the node took into use before the cache could know.
func TestDetachAsksTheNode(t *testing.T) {
	using := node(func(n *corev1.Node) { n.Status.VolumesInUse = []corev1.UniqueVolumeName{disk} })
	for name, tt := range map[string]struct {
		live   *corev1.Node // what the report's answer was
		verify bool
		spared bool
	}{
		"asked, in use":    {nil, true, true},
		"answered, in use": {using, true, true},
		"answered, free":   {node(), true, false},
		"given up":         {nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := attachment(done)
			client := fake.NewClientset(using.DeepCopy(), a)
			r := &reconciler{env: controller.Env{Client: client, Clock: clock.RealClock{}}, attachments: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}), operations: newOperations(), resolver: resolver{volumes: listers.NewPersistentVolumeLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}))}}
			if err := r.detach(t.Context(), nodeKey("n"), tt.live, Detach{Name: disk, Attachment: a, Verify: tt.verify}); err != nil {
				t.Fatal(err)
			}
			_, err := client.StorageV1().VolumeAttachments().Get(t.Context(), a.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) == tt.spared {
				t.Errorf("the attachment afterwards: %v", err)
			}
		})
	}
}

// TestFailuresAreToldOnce tells pods of a failure, and again only of another.
func TestFailuresAreToldOnce(t *testing.T) {
	events := record.NewFakeRecorder(9)
	r := &reconciler{env: controller.Env{Events: events}, memory: map[string]*memory{}}
	v := volume()
	v.Pods = []*corev1.Pod{{}}
	v.Source = storagev1.VolumeAttachmentSource{PersistentVolumeName: &v.Title}
	fails := func(at time.Time) { r.remember("n", Actions{Failed: []Failure{{v, timedOut(v), at}}}) }
	waits := func(leaving bool) {
		r.remember("n", Actions{Blocked: []Blocked{{v, []Elsewhere{{Node: "m", Leaving: leaving}}}}})
	}
	told := func(want int, text string) {
		t.Helper()
		if len(events.Events) != want {
			t.Fatalf("%d events, not %d", len(events.Events), want)
		}
		for range want {
			if got := <-events.Events; !strings.HasSuffix(got, text) {
				t.Errorf("event %s", got)
			}
		}
	}
	const late = `Warning FailedAttachVolume AttachVolume.Attach failed for volume "pv" : timed out waiting for external-attacher of d.example.com CSI driver to attach volume disk`
	fails(now)
	fails(now)
	told(1, late)
	fails(now.Add(AttachTimeout))
	told(1, late)
	waits(true)
	told(0, "")
	waits(false)
	waits(false)
	told(1, "waiting on detach before it can be attached to another node")
	gone := &storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{NodeName: "m", Source: v.Source}}
	if keys := r.ofAttachment(gone, nil); len(keys) != 2 || keys[1] != nodeKey("n") {
		t.Errorf("the end of an attachment asks for %v", keys)
	}
	if keys := r.ofAttachment(nil, gone); len(keys) != 1 {
		t.Errorf("an attachment asks for %v", keys)
	}
	gone.Status.DetachError = &storagev1.VolumeError{Message: "busy"}
	if keys := r.ofAttachment(nil, gone); len(keys) != 2 {
		t.Errorf("an attachment that stays asks for %v", keys)
	}
}
