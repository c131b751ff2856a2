package plugins_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/scheduler/framework"
)

func zoned(pairs ...string) *corev1.PersistentVolume {
	pv := volumeOn("v", "now", "a")
	pv.Spec.NodeAffinity = nil
	pv.Labels = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		pv.Labels[pairs[i]] = pairs[i+1]
	}
	return pv
}

func TestVolumeZones(t *testing.T) {
	const (
		zone, region         = corev1.LabelTopologyZone, corev1.LabelTopologyRegion
		betaZone, betaRegion = corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion
		conflict             = "UU: node(s) had no available volume zone"
	)
	for _, test := range []struct {
		name   string
		volume *corev1.PersistentVolume
		node   nodeOpt
		want   string
	}{
		{"same zone", zoned(zone, "z1"), labels(zone, "z1"), fits},
		{"other zone", zoned(zone, "z1"), labels(zone, "z2"), conflict},
		{"one of several zones", zoned(zone, "z1__z2"), labels(zone, "z2"), fits},
		{"none of several zones", zoned(zone, "z1__z2"), labels(zone, "z3"), conflict},
		{"zones with an empty part say nothing", zoned(zone, "z1__"), labels(zone, "z3"), fits},
		{"same zone, other region", zoned(zone, "z1", region, "r1"), labels(zone, "z1", region, "r2"), conflict},
		{"node without any zone", zoned(zone, "z1"), labels(), fits},
		{"node with a region alone", zoned(zone, "z1"), labels(region, "r1"), conflict},
		{"beta label, beta node", zoned(betaZone, "z1"), labels(betaZone, "z2"), conflict},
		{"beta label, node of today", zoned(betaZone, "z1", betaRegion, "r1"), labels(zone, "z1", region, "r1"), fits},
		{"beta label, node of today elsewhere", zoned(betaRegion, "r1"), labels(region, "r2"), conflict},
		{"label of today, beta node", zoned(zone, "z1"), labels(betaZone, "z1"), conflict},
		{"volume without labels", zoned(), labels(zone, "z1"), fits},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, []*corev1.Node{makeNode("a", test.node)})
			w.store(claim("data", "now", "v"), test.volume)
			if got := w.verdicts(makePod("p", using("data")))["a"]; got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestVolumeZoneOfUnboundClaims asks the plugin alone: with the others, VolumeBinding speaks first.
func TestVolumeZoneOfUnboundClaims(t *testing.T) {
	noMode := class("nomode", "", "x")
	noMode.VolumeBindingMode = nil
	for _, test := range []struct {
		name    string
		objects []any
		pod     *corev1.Pod
		want    string
	}{
		{"no claims", nil, makePod("p"), "Skip: "},
		{"missing claim", nil, makePod("p", using("data")), `UU: persistentvolumeclaim "data" not found`},
		{"claim without name", nil, makePod("p", using("")), "UU: PersistentVolumeClaim had no name"},
		{"missing volume", []any{claim("data", "now", "v")}, makePod("p", using("data")), `UU: persistentvolume "v" not found`},
		{"neither volume nor class", []any{claim("data", "", "")}, makePod("p", using("data")), "UU: PersistentVolumeClaim had no pv name and storageClass name"},
		{"missing class", []any{claim("data", "gone", "")}, makePod("p", using("data")), `UU: storageclass.storage.k8s.io "gone" not found`},
		{"class without mode", []any{claim("data", "nomode", ""), noMode}, makePod("p", using("data")), `UU: VolumeBindingMode not set for StorageClass "nomode"`},
		{"immediate", []any{claim("data", "now", ""), class("now", storagev1.VolumeBindingImmediate, "x")}, makePod("p", using("data")), "UU: PersistentVolume had no name"},
		{"waits for its consumer", []any{claim("data", "later", ""), class("later", storagev1.VolumeBindingWaitForFirstConsumer, "x")}, makePod("p", using("data")), "Skip: "},
		{"volume without labels", []any{claim("data", "now", "v"), zoned()}, makePod("p", using("data")), "Skip: "},
		{"volume with a zone", []any{claim("data", "now", "v"), zoned(corev1.LabelTopologyZone, "z")}, makePod("p", using("data")), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.store(test.objects...)
			if got := w.preFilter("VolumeZone", test.pod); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestVolumeZoneHints(t *testing.T) {
	user, pv := makePod("p", using("data")), zoned(corev1.LabelTopologyZone, "z")
	touched := pv.DeepCopy()
	touched.UID = types.UID("touched")
	checkHints(t, "VolumeZone", []hintCase{
		{"class that delays binding", user, added(framework.StorageClass, class("c", storagev1.VolumeBindingWaitForFirstConsumer, "x")), true},
		{"class that binds at once", user, added(framework.StorageClass, class("c", storagev1.VolumeBindingImmediate, "x")), false},
		{"its claim is bound", user, updated(framework.PersistentVolumeClaim, claim("data", "now", ""), claim("data", "now", "v")), true},
		{"another claim is bound", user, updated(framework.PersistentVolumeClaim, claim("else", "now", ""), claim("else", "now", "v")), false},
		{"new volume", user, added(framework.PersistentVolume, pv), true},
		{"volume labelled anew", user, updated(framework.PersistentVolume, zoned(), pv), true},
		{"volume changed otherwise", user, updated(framework.PersistentVolume, pv, touched), false},
		{"node labelled", user, changed(framework.Node, framework.UpdateNodeLabel, makeNode("a"), makeNode("a")), true},
		{"node tainted", user, changed(framework.Node, framework.UpdateNodeTaint, makeNode("a"), makeNode("a")), false},
	})
}
