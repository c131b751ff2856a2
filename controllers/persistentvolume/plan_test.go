package persistentvolume

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	completed  = "pv.kubernetes.io/bind-completed"
	controlled = "pv.kubernetes.io/bound-by-controller"
	selected   = "volume.kubernetes.io/selected-node"
	by         = "pv.kubernetes.io/provisioned-by"
)

func size(text string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(text)}
}

// aClaim of 2Gi in the class fast, as changed.
func aClaim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := "fast"
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "1", Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: size("2Gi")},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// aVolume of 2Gi in the class fast that nobody has, as changed.
func aVolume(name string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: "fast", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: size("2Gi"),
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "x"}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
	for _, f := range change {
		f(v)
	}
	return v
}

func of(uid string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "data"}
		v.Spec.ClaimRef.UID = "1"
		if uid != "1" {
			v.Spec.ClaimRef.UID = "2"
		}
		if uid == "" {
			v.Spec.ClaimRef.UID = ""
		}
	}
}

func sized(text string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Spec.Capacity = size(text) }
}

func modes(all ...corev1.PersistentVolumeAccessMode) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Spec.AccessModes = all }
}

func policy(p corev1.PersistentVolumeReclaimPolicy) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Spec.PersistentVolumeReclaimPolicy = p }
}

func in(p corev1.PersistentVolumePhase) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Status.Phase = p }
}

func marked(key, value string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Annotations[key] = value }
}

func named(volume string, annotations ...string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName = volume
		for _, a := range annotations {
			c.Annotations[a] = "yes"
		}
	}
}

func classless(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }

func chosen(c *corev1.PersistentVolumeClaim) { c.Annotations[selected] = "node-1" }

func aClass(provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

// external is what is said while a provisioner works.
func external(name string) string {
	return "ExternalProvisioning: Waiting for a volume to be created either by the external provisioner '" + name + "' or manually by the system administrator. " +
		"If volume creation is delayed, please verify that the provisioner is running and correctly registered."
}

func TestPlanClaim(t *testing.T) {
	now, later := storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer
	for name, tt := range map[string]struct {
		view ClaimView
		// what is planned: bind, assign, provision or phase with its argument, then the event and the error.
		want, event, err string
	}{
		"nothing to be had": {
			view: ClaimView{Claim: aClaim(classless)}, want: "phase Pending",
			event: "FailedBinding: no persistent volumes available for this claim and no storage class is set",
		},
		"default class":     {view: ClaimView{Claim: aClaim(classless), Default: aClass("example.com/disk", now)}, want: "assign fast"},
		"no default wanted": {view: ClaimView{Claim: aClaim(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = new(string) }), Default: aClass("x", now)}, want: "phase Pending", event: "FailedBinding: no persistent volumes available for this claim and no storage class is set"},
		"class missing":     {view: ClaimView{Claim: aClaim()}, event: `ProvisioningFailed: storageclass.storage.k8s.io "fast" not found`},
		"external":          {view: ClaimView{Claim: aClaim(), Class: aClass("example.com/disk", now)}, want: "provision example.com/disk", event: external("example.com/disk")},
		"migrated":          {view: ClaimView{Claim: aClaim(), Class: aClass("kubernetes.io/gce-pd", now)}, want: "provision pd.csi.storage.gke.io", event: external("pd.csi.storage.gke.io")},
		"no provisioner":    {view: ClaimView{Claim: aClaim(), Class: aClass("kubernetes.io/no-provisioner", now)}, event: "ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner"},
		"host paths":        {view: ClaimView{Claim: aClaim(), Class: aClass("kubernetes.io/host-path", now)}, event: `ProvisioningFailed: Failed to create provisioner: provisioning in volume plugin "kubernetes.io/host-path" is disabled`},
		"nfs":               {view: ClaimView{Claim: aClaim(), Class: aClass("kubernetes.io/nfs", now)}, event: "ProvisioningFailed: no provisionable volume plugin matched"},
		"no consumer":       {view: ClaimView{Claim: aClaim(), Class: aClass("example.com/disk", later)}, want: "phase Pending", event: "WaitForFirstConsumer: waiting for first consumer to be created before binding"},
		"one pod":           {view: ClaimView{Claim: aClaim(), Class: aClass("example.com/disk", later), Unscheduled: []string{"a"}}, want: "phase Pending", event: "WaitForPodScheduled: waiting for pod a to be scheduled"},
		"two pods":          {view: ClaimView{Claim: aClaim(), Class: aClass("example.com/disk", later), Unscheduled: []string{"a", "b"}}, want: "phase Pending", event: "WaitForPodScheduled: waiting for pods a,b to be scheduled"},
		"node chosen":       {view: ClaimView{Claim: aClaim(chosen), Class: aClass("example.com/disk", later)}, want: "provision example.com/disk", event: external("example.com/disk")},

		"match":                 {view: ClaimView{Claim: aClaim(), Volumes: []*corev1.PersistentVolume{aVolume("v")}}, want: "bind v"},
		"left to the scheduler": {view: ClaimView{Claim: aClaim(), Class: aClass("x", later), Volumes: []*corev1.PersistentVolume{aVolume("v")}}, want: "phase Pending", event: "WaitForFirstConsumer: waiting for first consumer to be created before binding"},
		"of the scheduler":      {view: ClaimView{Claim: aClaim(), Class: aClass("x", later), Volumes: []*corev1.PersistentVolume{aVolume("v", of("1"))}}, want: "bind v"},

		"named, missing":      {view: ClaimView{Claim: aClaim(named("v"))}, want: "phase Pending"},
		"named, free":         {view: ClaimView{Claim: aClaim(named("v")), Named: aVolume("v")}, want: "bind v"},
		"named, reserved":     {view: ClaimView{Claim: aClaim(named("v")), Named: aVolume("v", of(""), sized("1Gi"))}, want: "bind v"},
		"named, too small":    {view: ClaimView{Claim: aClaim(named("v")), Named: aVolume("v", sized("1Gi"))}, want: "phase Pending", event: `VolumeMismatch: Cannot bind to requested volume "v": requested PV is too small`},
		"named, taken":        {view: ClaimView{Claim: aClaim(named("v")), Named: aVolume("v", of("2"))}, want: "phase Pending", event: `FailedBinding: volume "v" already bound to a different claim.`},
		"named by controller": {view: ClaimView{Claim: aClaim(named("v", controlled)), Named: aVolume("v", of("2"))}, event: `FailedBinding: volume "v" already bound to a different claim.`, err: `invalid binding of claim "shop/data" to volume "v": volume already claimed by "shop/data"`},

		"bound":            {view: ClaimView{Claim: aClaim(named("v", completed)), Named: aVolume("v", of("1"))}, want: "bind v"},
		"volume let go":    {view: ClaimView{Claim: aClaim(named("v", completed)), Named: aVolume("v")}, want: "bind v"},
		"reference lost":   {view: ClaimView{Claim: aClaim(named("", completed))}, want: "phase Lost", event: "ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"},
		"volume lost":      {view: ClaimView{Claim: aClaim(named("v", completed))}, want: "phase Lost", event: "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!"},
		"another's volume": {view: ClaimView{Claim: aClaim(named("v", completed)), Named: aVolume("v", of("2"))}, want: "phase Lost", event: "ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly"},
	} {
		plan, err := PlanClaim(tt.view)
		got, event, problem := "", "", ""
		switch {
		case plan.Bind != nil:
			got = "bind " + plan.Bind.Name
		case plan.Assign != nil:
			got = "assign " + plan.Assign.Name
		case plan.Provisioner != "":
			got = "provision " + plan.Provisioner
		case plan.Phase != "":
			got = "phase " + string(plan.Phase)
		}
		if plan.Event != nil {
			event = plan.Event.Reason + ": " + plan.Event.Message
		}
		if err != nil {
			problem = err.Error()
		}
		if got != tt.want || event != tt.event || problem != tt.err {
			t.Errorf("%s: %q, %q, %q", name, got, event, problem)
		}
		if lost := plan.Phase == corev1.ClaimLost; lost != plan.Once {
			t.Errorf("%s: said once: %v", name, plan.Once)
		}
	}
}

func TestMismatch(t *testing.T) {
	block, other := corev1.PersistentVolumeBlock, "gold"
	for want, change := range map[string]func(*corev1.PersistentVolume){
		"":                                      func(*corev1.PersistentVolume) {},
		`the volume is marked for deletion "v"`: func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &metav1.Time{} },
		"storageClassName does not match":       func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "slow" },
		"volumeAttributesClassName does not match": func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = &other },
		"incompatible volumeMode":                  func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = &block },
		"incompatible accessMode":                  modes(corev1.ReadOnlyMany),
		"requested PV is too small":                sized("1Gi"),
	} {
		if got := mismatch(aVolume("v", change), aClaim()); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	const rwo, rox, rwx = corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany
	block, gold := corev1.PersistentVolumeBlock, "gold"
	volumes := []*corev1.PersistentVolume{
		aVolume("large", sized("10Gi")), aVolume("fits", sized("3Gi")), aVolume("twin", sized("3Gi")), aVolume("small", sized("1Gi")),
		aVolume("many", modes(rwo, rox, rwx)), aVolume("used", in(corev1.VolumeBound)), aVolume("taken", of("2")),
		aVolume("slow", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "slow" }),
		aVolume("block", func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = &block }),
		aVolume("gold", func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = &gold }),
		aVolume("labelled", sized("9Gi"), func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"disk": "ssd"} }),
		aVolume("going", func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &metav1.Time{} }),
	}
	for want, tt := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		more  []*corev1.PersistentVolume
	}{
		"fits":  {claim: aClaim()},
		"large": {claim: aClaim(func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = size("10Gi") })},
		"many":  {claim: aClaim(func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{rox} })},
		"block": {claim: aClaim(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block })},
		"gold":  {claim: aClaim(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = &gold })},
		"labelled": {claim: aClaim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "ssd"}}
		})},
		"reserved": {claim: aClaim(), more: []*corev1.PersistentVolume{aVolume("reserved", of(""), sized("20Gi"))}},
		"":         {claim: aClaim(func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = size("11Gi") })},
	} {
		found, err := Match(tt.claim, append(tt.more, volumes...), false)
		got := ""
		if found != nil {
			got = found.Name
		}
		if err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

func TestPlanVolume(t *testing.T) {
	const remove = corev1.PersistentVolumeReclaimDelete
	block := corev1.PersistentVolumeBlock
	path := func(v *corev1.PersistentVolume) {
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}}
	}
	temporary := func(v *corev1.PersistentVolume) {
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp/data"}}
	}
	local := func(v *corev1.PersistentVolume) {
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/data"}}
	}
	for name, tt := range map[string]struct {
		volume *corev1.PersistentVolume
		claim  *corev1.PersistentVolumeClaim
		unbind bool
		phase  corev1.PersistentVolumePhase
		event  string
	}{
		"free":               {volume: aVolume("v"), phase: corev1.VolumeAvailable},
		"reserved":           {volume: aVolume("v", of("")), claim: aClaim(), phase: corev1.VolumeAvailable},
		"bound":              {volume: aVolume("v", of("1")), claim: aClaim(named("v")), phase: corev1.VolumeBound},
		"binding":            {volume: aVolume("v", of("1")), claim: aClaim()},
		"wrong mode":         {volume: aVolume("v", of("1"), func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = &block }), claim: aClaim()},
		"claim elsewhere":    {volume: aVolume("v", of("1")), claim: aClaim(named("w")), unbind: true, phase: corev1.VolumeAvailable},
		"made in vain":       {volume: aVolume("v", of("1"), marked(by, "example.com/disk"), policy(remove)), claim: aClaim(named("w")), phase: corev1.VolumeReleased},
		"kept":               {volume: aVolume("v", of("1"), policy(corev1.PersistentVolumeReclaimRetain)), phase: corev1.VolumeReleased},
		"deleted by CSI":     {volume: aVolume("v", of("1"), policy(remove)), phase: corev1.VolumeReleased},
		"deleted by another": {volume: aVolume("v", of("1"), local, policy(remove), marked(by, "skiff.dev/local-path")), phase: corev1.VolumeReleased},
		"migrated":           {volume: aVolume("v", of("1"), path, policy(remove), marked("pv.kubernetes.io/migrated-to", "x")), phase: corev1.VolumeReleased},
		"failed before":      {volume: aVolume("v", of("1"), policy(remove), in(corev1.VolumeFailed))},
		"host path":          {volume: aVolume("v", of("1"), path, policy(remove)), phase: corev1.VolumeFailed, event: "VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided /data"},
		"temporary path":     {volume: aVolume("v", of("1"), temporary, policy(remove)), phase: corev1.VolumeFailed, event: `VolumeFailedDelete: error getting deleter volume plugin for volume "v": no deletable volume plugin matched`},
		"local":              {volume: aVolume("v", of("1"), local, policy(remove)), phase: corev1.VolumeFailed, event: `VolumeFailedDelete: error getting deleter volume plugin for volume "v": no volume plugin matched`},
		"driver gone":        {volume: aVolume("v", of("1"), policy(remove), marked(by, "kubernetes.io/glusterfs")), phase: corev1.VolumeFailed, event: "VolumeFailedDelete: no volume plugin matched name: kubernetes.io/glusterfs"},
		"recycled":           {volume: aVolume("v", of("1"), policy(corev1.PersistentVolumeReclaimRecycle)), phase: corev1.VolumeFailed, event: "VolumeFailedRecycle: No recycler plugin found for the volume!"},
		"emptied":            {volume: aVolume("v", of("1"), path, policy(corev1.PersistentVolumeReclaimRecycle)), phase: corev1.VolumeReleased},
		"unknown policy":     {volume: aVolume("v", of("1"), policy("Burn")), phase: corev1.VolumeFailed, event: "VolumeUnknownReclaimPolicy: Volume has unrecognized PersistentVolumeReclaimPolicy"},
	} {
		plan := PlanVolume(tt.volume, tt.claim)
		event := ""
		if plan.Event != nil {
			event = plan.Event.Reason + ": " + plan.Event.Message
		}
		if plan.Recycle != (name == "emptied") || plan.Unbind != tt.unbind || plan.Phase != tt.phase || event != tt.event {
			t.Errorf("%s: %+v, %s", name, plan, event)
		}
		if plan.Delete != (tt.volume.Spec.PersistentVolumeReclaimPolicy == remove && name != "migrated") {
			t.Errorf("%s: somebody deletes it: %v", name, plan.Delete)
		}
		if (plan.Mismatch != nil) != (name == "wrong mode") || (plan.OfClaim != nil) != (name == "wrong mode") {
			t.Errorf("%s: %+v, %+v", name, plan.Mismatch, plan.OfClaim)
		}
	}
}
