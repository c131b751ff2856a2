package plugins_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/scheduler/framework"
)

const tooMany = "U: node(s) exceed max volume count"

// csiNode has drivers with limits; a negative one stands for none.
func csiNode(name string, limits map[string]int32) *storagev1.CSINode {
	n := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for driver, limit := range limits {
		d := storagev1.CSINodeDriver{Name: driver, NodeID: name}
		if limit >= 0 {
			d.Allocatable = &storagev1.VolumeNodeResources{Count: &limit}
		}
		n.Spec.Drivers = append(n.Spec.Drivers, d)
	}
	return n
}

// csi answers a bound claim and its volume.
func csi(name, driver, handle string) []any {
	pv := zoned()
	pv.Name = "pv-" + name
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}
	return []any{claim(name, "now", pv.Name), pv}
}

func attachment(pv, driver, node string) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: driver + pv + node},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: driver, NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}},
	}
}

func all(lists ...[]any) []any {
	var joined []any
	for _, l := range lists {
		joined = append(joined, l...)
	}
	return joined
}

func ephemeralVolume(name string) podOpt {
	return disk(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}).named(name)
}

func (o podOpt) named(name string) podOpt {
	return func(p *corev1.Pod) {
		o(p)
		p.Spec.Volumes[len(p.Spec.Volumes)-1].Name = name
	}
}

func TestVolumeLimits(t *testing.T) {
	const d, e = "d.example.com", "e.example.com"
	one := []any{csiNode("a", map[string]int32{d: 1, e: -1})}
	later := class("later", storagev1.VolumeBindingWaitForFirstConsumer, d)
	inTree := class("later", storagev1.VolumeBindingWaitForFirstConsumer, "kubernetes.io/aws-ebs")
	must := true
	needed := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: d}, Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: &must}}
	migratedPV := zoned()
	migratedPV.Name, migratedPV.Spec.AWSElasticBlockStore = "pv-x", &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}
	owned := claim("p-scratch", "later", "")
	owner := makePod("p", ephemeralVolume("scratch"))
	owned.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("Pod"))}
	for _, test := range []struct {
		name    string
		objects []any
		there   []*corev1.Pod
		pod     *corev1.Pod
		want    string
	}{
		{"first volume", all(one, csi("x", d, "1")), nil, makePod("p", using("x")), fits},
		{"one volume too many", all(one, csi("x", d, "1"), csi("y", d, "2")), []*corev1.Pod{makePod("q", at("a"), using("y"))}, makePod("p", using("x")), tooMany},
		{"two new ones at once", all(one, csi("x", d, "1"), csi("y", d, "2")), nil, makePod("p", using("x"), using("y")), tooMany},
		{"the same volume counts once", all(one, csi("x", d, "1"), csi("y", d, "1")), []*corev1.Pod{makePod("q", at("a"), using("y"))}, makePod("p", using("x")), fits},
		{"another driver's volumes", all(one, csi("x", d, "1"), csi("y", e, "1")), []*corev1.Pod{makePod("q", at("a"), using("y"))}, makePod("p", using("x")), fits},
		{"driver without a limit", all(one, csi("x", e, "1"), csi("y", e, "2")), []*corev1.Pod{makePod("q", at("a"), using("y"))}, makePod("p", using("x")), fits},
		{"limit of nothing", all([]any{csiNode("a", map[string]int32{d: 0})}, csi("x", d, "1")), nil, makePod("p", using("x")), tooMany},
		{"no CSINode", csi("x", d, "1"), nil, makePod("p", using("x")), fits},
		{"attached for a pod that is gone", all(one, csi("x", d, "1"), csi("y", d, "2"), []any{attachment("pv-y", d, "a")}), nil, makePod("p", using("x")), tooMany},
		{"attached to another node", all(one, csi("x", d, "1"), csi("y", d, "2"), []any{attachment("pv-y", d, "b")}), nil, makePod("p", using("x")), fits},
		{"attached and used counts once", all([]any{csiNode("a", map[string]int32{d: 2})}, csi("x", d, "1"), csi("y", d, "2"), []any{attachment("pv-y", d, "a")}),
			[]*corev1.Pod{makePod("q", at("a"), using("y"))}, makePod("p", using("x")), fits},
		{"to be provisioned", all(one, csi("y", d, "2"), []any{claim("x", "later", ""), later}), []*corev1.Pod{makePod("q", at("a"), using("y"))}, makePod("p", using("x")), tooMany},
		{"to be provisioned in tree", []any{csiNode("a", map[string]int32{"ebs.csi.aws.com": 0}), claim("x", "later", ""), inTree}, nil, makePod("p", using("x")), tooMany},
		{"to be provisioned in tree, no CSI node", []any{claim("x", "later", ""), inTree}, nil, makePod("p", using("x")), fits},
		{"migrated volume", []any{csiNode("a", map[string]int32{"ebs.csi.aws.com": 0}), claim("x", "now", "pv-x"), migratedPV}, nil, makePod("p", using("x")), tooMany},
		{"migrated inline", []any{csiNode("a", map[string]int32{"ebs.csi.aws.com": 0})}, nil, makePod("p", ebs("vol-1", false)), tooMany},
		{"migrated inline within the limit", []any{csiNode("a", map[string]int32{"ebs.csi.aws.com": 1})}, nil, makePod("p", ebs("vol-1", false)), fits},
		{"claims of pods there may be gone", all(one, csi("x", d, "1")), []*corev1.Pod{makePod("q", at("a"), using("gone"))}, makePod("p", using("x")), fits},
		{"ephemeral", []any{csiNode("a", map[string]int32{d: 0}), owned, later}, nil, owner, tooMany},
		{"driver that must be there", all(csi("x", d, "1"), []any{csiNode("a", map[string]int32{e: 1}), needed}), nil, makePod("p", using("x")), "U: d.example.com CSI driver is not installed on the node"},
		{"no CSINode for a driver that must be there", all(csi("x", d, "1"), []any{needed}), nil, makePod("p", using("x")), "U: d.example.com CSI driver is not installed on the node"},
		{"driver that must be there is", all(one, csi("x", d, "1"), []any{needed}), nil, makePod("p", using("x")), fits},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, []*corev1.Node{makeNode("a")}, test.there...)
			w.store(test.objects...)
			if got := w.verdicts(test.pod)["a"]; got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestVolumeLimitsSkipAndMissing(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a")})
	for _, test := range []struct {
		pod               *corev1.Pod
		preFilter, filter string
	}{
		{makePod("p"), "Skip: ", ""},
		{makePod("p", gce("d", false).named("x")), "", ""},
		{makePod("p", iscsi("d", false)), "Skip: ", ""},
		{makePod("p", using("gone")), "", `UU: looking up PVC default/gone: persistentvolumeclaim "gone" not found`},
	} {
		if got := w.preFilter("NodeVolumeLimits", test.pod); got != test.preFilter {
			t.Errorf("%v: PreFilter says %q, want %q", test.pod.Spec.Volumes, got, test.preFilter)
		}
		if got := w.filter("NodeVolumeLimits", test.pod, "a"); got != test.filter {
			t.Errorf("%v: Filter says %q, want %q", test.pod.Spec.Volumes, got, test.filter)
		}
	}
}

func TestVolumeLimitHints(t *testing.T) {
	limits := func(n int32) *storagev1.CSINode { return csiNode("a", map[string]int32{"d": n}) }
	user := makePod("p", using("data"))
	nominated := makePod("x", using("data"))
	nominated.Status.NominatedNodeName = "a"
	checkHints(t, "NodeVolumeLimits", []hintCase{
		{"new CSINode", user, added(framework.CSINode, limits(0)), true},
		{"limit grows", user, updated(framework.CSINode, limits(1), limits(2)), true},
		{"limit falls", user, updated(framework.CSINode, limits(2), limits(1)), false},
		{"limit is set", user, updated(framework.CSINode, limits(-1), limits(1)), true},
		{"driver comes with a limit", user, updated(framework.CSINode, csiNode("a", nil), limits(1)), true},
		{"pod with a claim goes", user, deleted(framework.AssignedPod, makePod("x", at("a"), using("y"))), true},
		{"pod with an ephemeral volume goes", user, deleted(framework.AssignedPod, makePod("x", at("a"), ephemeralVolume("y"))), true},
		{"pod with a migrated volume goes", user, deleted(framework.AssignedPod, makePod("x", at("a"), ebs("y", false))), true},
		{"pod without volumes goes", user, deleted(framework.AssignedPod, makePod("x", at("a"))), false},
		{"pod without a node goes", user, deleted(framework.AssignedPod, makePod("x", using("y"))), false},
		{"nominated pod goes", user, deleted(framework.AssignedPod, nominated), true},
		{"its claim comes", user, added(framework.PersistentVolumeClaim, claim("data", "", "")), true},
		{"the claim of its ephemeral volume comes", makePod("p", ephemeralVolume("data")), added(framework.PersistentVolumeClaim, claim("p-data", "", "")), true},
		{"another claim comes", user, added(framework.PersistentVolumeClaim, claim("else", "", "")), false},
		{"attachment goes", user, deleted(framework.VolumeAttachment, attachment("v", "d", "a")), true},
		{"attachment of the inline volume's driver goes", makePod("p", ebs("x", false)), deleted(framework.VolumeAttachment, attachment("v", "ebs.csi.aws.com", "a")), true},
		{"attachment of another driver goes", makePod("p", ebs("x", false)), deleted(framework.VolumeAttachment, attachment("v", "d", "a")), false},
		{"attachment goes, pod without volumes", makePod("p"), deleted(framework.VolumeAttachment, attachment("v", "d", "a")), false},
	})
}

// TestProvisionedVolumesDifferByClaim: two claims to be provisioned are two volumes.
func TestProvisionedVolumesDifferByClaim(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a")})
	w.store(csiNode("a", map[string]int32{"d": 2}), class("later", storagev1.VolumeBindingWaitForFirstConsumer, "d"))
	var opts []podOpt
	for i := range 3 {
		name := fmt.Sprintf("c%d", i)
		w.store(claim(name, "later", ""))
		opts = append(opts, using(name))
	}
	if got := w.verdicts(makePod("p", opts[:2]...))["a"]; got != fits {
		t.Errorf("two claims: %q", got)
	}
	if got := w.verdicts(makePod("p", opts...))["a"]; got != tooMany {
		t.Errorf("three claims: %q", got)
	}
}
