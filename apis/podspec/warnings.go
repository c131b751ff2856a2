package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deprecatedLabels are node labels that have a successor.
var deprecatedLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  `deprecated since v1.9`,
	"scheduler.alpha.kubernetes.io/preferAvoidPods": `deprecated since v1.22; use Taints and Tolerations instead`,
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

// DeprecatedLabel says what to use instead of a node label; empty if it is current.
func DeprecatedLabel(key string) string { return deprecatedLabels[key] }

// warner collects what should be said about a pod spec that is valid.
type warner struct {
	spec *corev1.PodSpec
	meta *metav1.ObjectMeta
	root *field.Path // nil for a pod
	out  []string
}

// Warnings says what is legal in a new pod and surely not meant.
func Warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec) []string {
	return warnings(meta, spec, nil)
}

// TemplateWarnings does the same for a pod template at the path.
func TemplateWarnings(t *corev1.PodTemplateSpec, path *field.Path) []string {
	return warnings(&t.ObjectMeta, &t.Spec, path)
}

// WarnName warns of a name that is no DNS label where pods are named after it.
func WarnName(name, use string) []string {
	if bad := validation.IsDNS1123Label(name); len(bad) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in %s, which can result in surprising behavior; a DNS label is recommended: %v", use, bad)}
	}
	return nil
}

// What names of objects are used in.
const (
	PodHostname     = "the Pod's hostname"
	PodNamesAndHost = "Pod names and hostnames"
)

func warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec, path *field.Path) []string {
	w := &warner{spec: spec, meta: meta, root: path}
	w.placement()
	w.annotations()
	w.volumes()
	w.lists()
	w.fractions(spec.Overhead, w.at("overhead"))
	w.seccomp()
	w.containers(w.container)
	w.ports()
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.say(w.at("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.podAffinity()
	if spec.DNSConfig != nil {
		for i, ip := range spec.DNSConfig.Nameservers {
			w.out = append(w.out, validation.GetWarningsForIP(w.at("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i, a := range spec.HostAliases {
		w.out = append(w.out, validation.GetWarningsForIP(w.at("hostAliases").Index(i).Child("ip"), a.IP)...)
	}
	return w.out
}

func (w *warner) at(names ...string) *field.Path { return w.root.Child("spec", names...) }

func (w *warner) annotation(key string) *field.Path {
	return w.root.Child("metadata", "annotations").Key(key)
}

func (w *warner) say(at *field.Path, format string, args ...any) {
	w.out = append(w.out, fmt.Sprintf("%s: %s", at, fmt.Sprintf(format, args...)))
}

// placement is about labels of nodes.
func (w *warner) placement() {
	for _, k := range slices.Sorted(maps.Keys(w.spec.NodeSelector)) {
		if text := DeprecatedLabel(k); text != "" {
			w.say(w.at("nodeSelector").Key(k), "%s", text)
		}
	}
	if a := w.spec.Affinity; a != nil && a.NodeAffinity != nil {
		if r := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			at := w.at("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
			for i, term := range r.NodeSelectorTerms {
				w.out = append(w.out, TermWarnings(term, false, at.Index(i))...)
			}
		}
		at := w.at("affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution")
		for i, term := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			w.out = append(w.out, TermWarnings(term.Preference, true, at.Index(i).Child("preference"))...)
		}
	}
	for i, c := range w.spec.TopologySpreadConstraints {
		at := w.at("topologySpreadConstraints").Index(i)
		if text := DeprecatedLabel(c.TopologyKey); text != "" {
			w.say(at.Child("topologyKey"), "%s is %s", c.TopologyKey, text)
		}
		w.nullSelector(c.LabelSelector, at.Child("labelSelector"))
	}
}

// TermWarnings warns of deprecated labels and, as they are not validated in
// preferences, of values that no label has.
func TermWarnings(term corev1.NodeSelectorTerm, values bool, path *field.Path) []string {
	w := &warner{}
	for i, e := range term.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if text := DeprecatedLabel(e.Key); text != "" {
			w.say(at.Child("key"), "%s is %s", e.Key, text)
		}
		for j, v := range e.Values {
			if !values {
				break
			}
			for _, bad := range validation.IsValidLabelValue(v) {
				w.say(at.Child("values").Index(j), "%s is invalid, %s", v, bad)
			}
		}
	}
	return w.out
}

func (w *warner) nullSelector(s *metav1.LabelSelector, at *field.Path) {
	if s == nil {
		w.say(at, "a null labelSelector results in matching no pod")
	}
}

func (w *warner) podAffinity() {
	a := w.spec.Affinity
	if a == nil {
		return
	}
	terms := func(kind string, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i, t := range required {
			w.nullSelector(t.LabelSelector, w.at("affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"))
		}
		for i, t := range preferred {
			w.nullSelector(t.PodAffinityTerm.LabelSelector, w.at("affinity", kind, "preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"))
		}
	}
	if p := a.PodAffinity; p != nil {
		terms("podAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms("podAntiAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (w *warner) annotations() {
	for _, d := range [][2]string{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := w.meta.Annotations[d[0]]; ok {
			w.say(w.annotation(d[0]), "%s", d[1])
		}
	}
}

// lists is about entries that hide each other.
func (w *warner) lists() {
	seen := map[string]bool{}
	for i, a := range w.spec.HostAliases {
		if seen[a.IP] {
			w.say(w.at("hostAliases").Index(i).Child("ip"), "duplicate ip %q", a.IP)
		}
		seen[a.IP] = true
	}
	clear(seen)
	for i, s := range w.spec.ImagePullSecrets {
		if seen[s.Name] {
			w.say(w.at("imagePullSecrets").Index(i).Child("name"), "duplicate name %q", s.Name)
		}
		seen[s.Name] = true
	}
	for i, s := range w.spec.ImagePullSecrets {
		if s.Name == "" {
			w.say(w.at("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", s.Name)
		}
	}
}

// fractions warns of amounts of bytes that are none.
func (w *warner) fractions(l corev1.ResourceList, at *field.Path) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := l[name]; ok && q.MilliValue()%1000 != 0 {
			w.say(at.Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

// ClaimWarnings warns of amounts in the spec of a claim.
func ClaimWarnings(s *corev1.PersistentVolumeClaimSpec, path *field.Path) []string {
	w := &warner{}
	for _, l := range []struct {
		list corev1.ResourceList
		name string
	}{{s.Resources.Requests, "requests"}, {s.Resources.Limits, "limits"}} {
		if q := l.list[corev1.ResourceStorage]; q.MilliValue()%1000 != 0 {
			w.say(path.Child("resources", l.name).Key(string(corev1.ResourceStorage)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
	return w.out
}

func (w *warner) seccomp() {
	if s := w.spec.SecurityContext; s != nil && s.SeccompProfile != nil {
		return
	}
	if _, ok := w.meta.Annotations[corev1.SeccompPodAnnotationKey]; ok {
		w.say(w.annotation(corev1.SeccompPodAnnotationKey), `non-functional in v1.27+; use the "seccompProfile" field instead`)
	}
}

// containers calls f for every container: init, others, ephemeral.
func (w *warner) containers(f func(*corev1.Container, *field.Path)) {
	for i := range w.spec.InitContainers {
		f(&w.spec.InitContainers[i], w.at("initContainers").Index(i))
	}
	for i := range w.spec.Containers {
		f(&w.spec.Containers[i], w.at("containers").Index(i))
	}
	for i := range w.spec.EphemeralContainers {
		c := corev1.Container(w.spec.EphemeralContainers[i].EphemeralContainerCommon)
		f(&c, w.at("ephemeralContainers").Index(i))
	}
}

func (w *warner) container(c *corev1.Container, at *field.Path) {
	if key := corev1.SeccompContainerAnnotationKeyPrefix + c.Name; c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
		if _, ok := w.meta.Annotations[key]; ok {
			w.say(w.annotation(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
	}
	w.appArmor(c)
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		w.fractionOf(c.Resources.Limits, name, at.Child("resources", "limits"))
		w.fractionOf(c.Resources.Requests, name, at.Child("resources", "requests"))
	}
	seen := map[string]bool{}
	for i, e := range c.Env {
		ref := "$(" + e.Name + ")"
		if seen[e.Name] && (e.ValueFrom != nil || e.Value == ref || !strings.Contains(e.Value, ref)) {
			w.say(at.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		seen[e.Name] = true
	}
}

func (w *warner) fractionOf(l corev1.ResourceList, name corev1.ResourceName, at *field.Path) {
	if q, ok := l[name]; ok {
		w.fractions(corev1.ResourceList{name: q}, at)
	}
}

// appArmor warns of annotations of templates; those of pods become fields.
func (w *warner) appArmor(c *corev1.Container) {
	key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
	text, ok := w.meta.Annotations[key]
	if !ok || w.root == nil || (c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil) {
		return
	}
	if s := w.spec.SecurityContext; s != nil && s.AppArmorProfile != nil && equalAppArmor(s.AppArmorProfile, parseAppArmor(text)) {
		return
	}
	w.say(w.annotation(key), `deprecated since v1.30; use the "appArmorProfile" field instead`)
}

// ports looks at the ports of all containers together.
func (w *warner) ports() {
	type block struct {
		at   *field.Path
		port corev1.ContainerPort
	}
	all, names := map[string][]block{}, map[string]*field.Path{}
	w.containers(func(c *corev1.Container, path *field.Path) {
		for i, p := range c.Ports {
			at := path.Child("ports").Index(i)
			if p.HostIP != "" && p.HostPort == 0 {
				w.say(at, "hostIP set without hostPort: %+v", portValue(p))
			}
			k := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
			for _, other := range all[k] {
				if kind := clash(p, other.port); kind != "" {
					w.say(at, "%s port definition with %s", kind, other.at)
				}
			}
			all[k] = append(all[k], block{at, p})
		}
	})
	w.containers(func(c *corev1.Container, path *field.Path) {
		for i, p := range c.Ports {
			at := path.Child("ports").Index(i)
			if other := names[p.Name]; p.Name != "" && other != nil {
				w.say(at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, other, other)
			} else if p.Name != "" {
				names[p.Name] = at
			}
		}
	})
}

// clash names how two ports of one number and protocol meet.
func clash(a, b corev1.ContainerPort) string {
	switch {
	case a.HostIP == b.HostIP && a.HostPort == b.HostPort:
		return "duplicate"
	case a.HostPort == 0 || b.HostPort == 0:
		return "overlapping"
	case a.HostPort == b.HostPort && (a.HostIP == "") != (b.HostIP == ""):
		return "dangerously ambiguous"
	}
	return ""
}

// portValue prints a port with the names and order that the API's text has.
type portValue struct {
	Name          string
	HostPort      int32
	ContainerPort int32
	Protocol      corev1.Protocol
	HostIP        string
}
