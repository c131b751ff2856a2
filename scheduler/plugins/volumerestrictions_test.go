package plugins_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

func disk(source corev1.VolumeSource) podOpt {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "disk", VolumeSource: source})
	}
}

func gce(name string, readOnly bool) podOpt {
	return disk(corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: name, ReadOnly: readOnly}})
}

func ebs(id string, readOnly bool) podOpt {
	return disk(corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: id, ReadOnly: readOnly}})
}

func iscsi(iqn string, readOnly bool) podOpt {
	return disk(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{IQN: iqn, ReadOnly: readOnly}})
}

func rbd(pool, image string, readOnly bool, monitors ...string) podOpt {
	return disk(corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{CephMonitors: monitors, RBDPool: pool, RBDImage: image, ReadOnly: readOnly}})
}

const (
	diskTaken = "U: node(s) had no available disk"
	claimHad  = "U: node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)

func TestDisksThatAreMountedOnce(t *testing.T) {
	for _, test := range []struct {
		name         string
		there, wants podOpt
		want         string
	}{
		{"gce, one writes", gce("d", true), gce("d", false), diskTaken},
		{"gce, both read", gce("d", true), gce("d", true), fits},
		{"gce, another disk", gce("d", false), gce("e", false), fits},
		{"ebs, even both read", ebs("d", true), ebs("d", true), diskTaken},
		{"ebs, another disk", ebs("d", false), ebs("e", false), fits},
		{"iscsi, one writes", iscsi("d", false), iscsi("d", true), diskTaken},
		{"iscsi, both read", iscsi("d", true), iscsi("d", true), fits},
		{"rbd, a monitor in common", rbd("p", "i", false, "a", "b"), rbd("p", "i", false, "b", "c"), diskTaken},
		{"rbd, both read", rbd("p", "i", true, "a"), rbd("p", "i", true, "a"), fits},
		{"rbd, no monitor in common", rbd("p", "i", false, "a"), rbd("p", "i", false, "b"), fits},
		{"rbd, another pool", rbd("p", "i", false, "a"), rbd("q", "i", false, "a"), fits},
		{"rbd, another image", rbd("p", "i", false, "a"), rbd("p", "j", false, "a"), fits},
		{"kinds don't mix", gce("d", false), ebs("d", false), fits},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")}, makePod("there", at("a"), test.there))
			got := w.verdicts(makePod("p", test.wants))
			if got["a"] != test.want || got["b"] != fits {
				t.Errorf("a: %q, b: %q; want %q and a fit", got["a"], got["b"], test.want)
			}
		})
	}
}

func exclusive(name string) *corev1.PersistentVolumeClaim {
	c := claim(name, "now", "v")
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	return c
}

func TestClaimsOfOnePod(t *testing.T) {
	elsewhere := makePod("other", at("a"), using("data"))
	elsewhere.Namespace = "other"
	for _, test := range []struct {
		name  string
		claim *corev1.PersistentVolumeClaim
		there *corev1.Pod
		want  string
	}{
		{"in use on any node", exclusive("data"), makePod("there", at("a"), using("data")), claimHad},
		{"free", exclusive("data"), makePod("there", at("a")), fits},
		{"a claim of that name in another namespace", exclusive("data"), elsewhere, fits},
		{"shared claim", claim("data", "now", "v"), makePod("there", at("a"), using("data")), fits},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")}, test.there)
			pv := volumeOn("v", "now", "a")
			pv.Spec.NodeAffinity = nil
			w.store(test.claim, pv)
			for node, got := range w.verdicts(makePod("p", using("data"))) {
				if got != test.want {
					t.Errorf("node %s: %q, want %q", node, got, test.want)
				}
			}
		})
	}
}

// TestPreemptionFreesAClaim: a pod of higher priority gets the claim once its holder is gone, wherever that is; one
// holder of two claims has to go for both.
func TestPreemptionFreesAClaim(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")}, makePod("holder", at("b"), using("data"), using("more")), makePod("idle", at("a")))
	pv := volumeOn("v", "now", "a")
	pv.Spec.NodeAffinity = nil
	w.store(exclusive("data"), exclusive("more"), pv)
	node, gone, msg := w.preempt(makePod("high", priority(10), using("data"), using("more")))
	if node != "b" || keys(gone) != "holder" || msg != "" {
		t.Errorf("promised %q, evicted %q, %q; want b, holder", node, keys(gone), msg)
	}
	w = newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")}, makePod("one", at("a"), using("data")), makePod("two", at("b"), using("more")))
	w.store(exclusive("data"), exclusive("more"), pv)
	if node, gone, _ := w.preempt(makePod("high", priority(10), using("data"), using("more"))); node != "" || len(gone) > 0 {
		t.Errorf("promised %q, evicted %q, though no node's pods hold both claims", node, keys(gone))
	}
}

func TestVolumeRestrictionsHints(t *testing.T) {
	foreign := claim("data", "now", "")
	foreign.Namespace = "other"
	user := makePod("p", using("data"))
	checkHints(t, "VolumeRestrictions", []hintCase{
		{"its claim is made", user, added(framework.PersistentVolumeClaim, claim("data", "now", "")), true},
		{"another claim is made", user, added(framework.PersistentVolumeClaim, claim("else", "now", "")), false},
		{"a claim elsewhere is made", user, added(framework.PersistentVolumeClaim, foreign), false},
		{"its claim changes", user, updated(framework.PersistentVolumeClaim, claim("data", "now", ""), claim("data", "now", "v")), false},
		{"a user of its claim goes", user, deleted(framework.AssignedPod, makePod("x", at("a"), using("data"))), true},
		{"a user of another claim goes", user, deleted(framework.AssignedPod, makePod("x", at("a"), using("else"))), false},
		{"a user of its disk goes", makePod("p", ebs("d", false)), deleted(framework.AssignedPod, makePod("x", at("a"), ebs("d", false))), true},
		{"a user of another disk goes", makePod("p", ebs("d", false)), deleted(framework.AssignedPod, makePod("x", at("a"), ebs("e", false))), false},
		{"a node comes", user, added(framework.Node, makeNode("a")), true},
	})
}
