package pod

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/cri"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)", "EMPTY": ""}
	for in, want := range map[string]string{
		"":               "",
		"plain":          "plain",
		"$(A)":           "1",
		"x$(A)y$(A)":     "x1y1",
		"$$(A)":          "$(A)",
		"$$$(A)":         "$1",
		"$$$$(A)":        "$$(A)",
		"$(UNKNOWN)":     "$(UNKNOWN)",
		"$(EMPTY)":       "",
		"$(B)":           "$(A)",
		"$(A":            "$(A",
		"$":              "$",
		"a$":             "a$",
		"$A":             "$A",
		"$(A)$(UNKNOWN)": "1$(UNKNOWN)",
	} {
		if got := Expand(in, vars); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if _, err := subPath(corev1.VolumeMount{SubPathExpr: "$(A)/$(NO)"}, vars); err == nil || err.Error() != `missing value for "NO"` {
		t.Errorf("error %v", err)
	}
}

func TestDNS(t *testing.T) {
	host := Host{
		ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local",
		Resolver: ParseResolver("# c\nnameserver 1.1.1.1\nnameserver 8.8.8.8\nsearch corp.example. x\noptions timeout:1 rotate\n"),
	}
	five := "5"
	for _, c := range []struct {
		name                       string
		pod                        corev1.PodSpec
		servers, searches, options string
	}{
		{"cluster first", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, "10.96.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local corp.example x", "ndots:5"},
		{"on the host's network it is the host's", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, HostNetwork: true}, "1.1.1.1 8.8.8.8", "corp.example x", "timeout:1 rotate"},
		{"unless asked for", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, "10.96.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local corp.example x", "ndots:5"},
		{"default", corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, "1.1.1.1 8.8.8.8", "corp.example x", "timeout:1 rotate"},
		{"none with its own", corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{
			Nameservers: []string{"9.9.9.9"}, Searches: []string{"a"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &five}, {Name: "debug"}},
		}}, "9.9.9.9", "a", "ndots:5 debug"},
		{"options are replaced by name", corev1.PodSpec{DNSPolicy: corev1.DNSDefault, DNSConfig: &corev1.PodDNSConfig{
			Nameservers: []string{"1.1.1.1", "9.9.9.9"}, Options: []corev1.PodDNSConfigOption{{Name: "timeout", Value: &five}},
		}}, "1.1.1.1 8.8.8.8 9.9.9.9", "corp.example x", "timeout:5 rotate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := host.dns(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: c.pod})
			for what, pair := range map[string][2]string{
				"servers": {strings.Join(got.Servers, " "), c.servers}, "searches": {strings.Join(got.Searches, " "), c.searches}, "options": {strings.Join(got.Options, " "), c.options},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
				}
			}
		})
	}
}

func TestHostsFile(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-0"}, Spec: corev1.PodSpec{
		Subdomain: "web", HostAliases: []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"foo", "bar"}}},
	}}
	got := string(hostsFile(p, []string{"10.0.0.5"}, "cluster.local", nil))
	for _, want := range []string{
		"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n", "\n10.0.0.5\tweb-0.web.ns.svc.cluster.local\tweb-0\n",
		"\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	p.Spec.HostNetwork = true
	if got := string(hostsFile(p, nil, "cluster.local", []byte("127.0.0.1 me\n"))); !strings.HasPrefix(got, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n") {
		t.Errorf("got %q", got)
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 62) + "-b"
	override := "other"
	for _, c := range []struct {
		pod          corev1.Pod
		name, domain string
	}{
		{corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns"}}, "p", ""},
		{corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns"}, Spec: corev1.PodSpec{Hostname: "h", Subdomain: "s"}}, "h", "s.ns.svc.c"},
		{corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: long}}, strings.Repeat("a", 62), ""},
		{corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{HostnameOverride: &override, Subdomain: "s"}}, "other", ""},
	} {
		if name, domain := Hostname(&c.pod, "c"); name != c.name || domain != c.domain {
			t.Errorf("got %s %s, want %s %s", name, domain, c.name, c.domain)
		}
	}
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	for _, c := range []struct {
		requests, limits             corev1.ResourceList
		shares, quota, memory, score int64
	}{
		{nil, nil, 2, 0, 0, 1000},
		{list("500m", "1Gi"), nil, 512, 0, 0, 750},
		{nil, list("2", "1Gi"), 2048, 200000, 1 << 30, -997},
		{list("1m", ""), list("1m", ""), 2, 1000, 0, 999},
		{list("1", "4Gi"), list("2", "4Gi"), 1024, 200000, 4 << 30, 3},
	} {
		spec := &corev1.Container{Resources: corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits}}
		got := resources(spec.Resources)
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{*spec}}}
		if c.requests == nil && c.limits != nil { // as the API defaults requests
			spec.Resources.Requests = c.limits
			p.Spec.Containers[0] = *spec
		}
		if got.CpuShares != c.shares || got.CpuQuota != c.quota || got.MemoryLimitInBytes != c.memory {
			t.Errorf("%v %v: got %v", c.requests, c.limits, got)
		}
		if score := oomScore(p, spec, 4<<30); score != c.score {
			t.Errorf("%v %v: score %d, want %d", c.requests, c.limits, score, c.score)
		}
	}
}

func TestContainerSecurity(t *testing.T) {
	yes, no, podUser, own := true, false, int64(1), int64(2)
	local := "p.json"
	p := &corev1.Pod{Spec: corev1.PodSpec{
		HostPID: true,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsUser: &podUser, RunAsGroup: &podUser, FSGroup: &own, SupplementalGroups: []int64{7},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}}
	got := containerSecurity(p, &corev1.Container{SecurityContext: &corev1.SecurityContext{
		RunAsUser: &own, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}, Drop: []corev1.Capability{"ALL"}},
	}}, Host{Root: "/r"})
	if got.RunAsUser.Value != 2 || got.RunAsGroup.Value != 1 || !got.NoNewPrivs || got.Privileged || got.NamespaceOptions.Pid != cri.NamespaceNode {
		t.Errorf("got %v", got)
	}
	if !slices.Equal(got.SupplementalGroups, []int64{2, 7}) || got.Seccomp.ProfileType != cri.ProfileRuntimeDefault || len(got.MaskedPaths) == 0 {
		t.Errorf("got %v", got)
	}
	if got.Capabilities.AddCapabilities[0] != "NET_ADMIN" || got.Capabilities.DropCapabilities[0] != "ALL" {
		t.Errorf("got %v", got.Capabilities)
	}
	unmasked := corev1.UnmaskedProcMount
	got = containerSecurity(&corev1.Pod{}, &corev1.Container{SecurityContext: &corev1.SecurityContext{
		Privileged: &yes, ProcMount: &unmasked, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &local},
	}}, Host{Root: "/r"})
	if !got.Privileged || len(got.MaskedPaths) > 0 || got.Seccomp.LocalhostRef != "/r/seccomp/p.json" {
		t.Errorf("got %v", got)
	}
}

func TestVerifyNonRoot(t *testing.T) {
	yes, root, user := true, int64(0), int64(5)
	for _, c := range []struct {
		name  string
		as    *int64
		image *int64
		named string
		bad   bool
	}{
		{"image is root", nil, &root, "", true},
		{"image says nothing", nil, nil, "", true},
		{"image has a name", nil, nil, "web", true},
		{"image has a number", nil, &user, "", false},
		{"spec is root", &root, &user, "", true},
		{"spec wins", &user, &root, "", false},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: c.as}}}
		if err := verifyNonRoot(p, &corev1.Container{Name: "c"}, c.image, c.named); (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestLogTail(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/log"
	write(t, path, "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P tw\n2026-01-01T00:00:00Z stderr F o\n")
	if got := logTail(path); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
	file := dir + "/message"
	write(t, file, "")
	c := cri.Container{TerminationLog: file, LogPath: path, ExitCode: 1, Annotations: map[string]string{cri.AnnotationTerminationPolicy: "FallbackToLogsOnError"}}
	if got := terminationMessage(c); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
	write(t, file, "bye")
	if got := terminationMessage(c); got != "bye" {
		t.Errorf("got %q", got)
	}
}
