package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff/kubelet/internal/nodetest"
)

// story is one pod and what must become of it.
type story struct {
	name   string
	pod    *corev1.Pod
	wanted func(*corev1.Pod) bool
	then   func(t *testing.T, f *fixture, p *corev1.Pod)
}

func phase(want corev1.PodPhase) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p != nil && p.Status.Phase == want }
}

func waiting(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		if p == nil {
			return false
		}
		for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			if s.State.Waiting != nil && s.State.Waiting.Reason == reason {
				return true
			}
		}
		return false
	}
}

func never(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }

func (f *fixture) log(p *corev1.Pod, container string) string {
	files, err := filepath.Glob(filepath.Join(f.root, "logs", p.Namespace+"_"+p.Name+"_*", container, "*.log"))
	if err != nil || len(files) == 0 {
		return ""
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return ""
	}
	return string(text)
}

// logWith is the log once it holds the text, or what it is after some seconds: a ready container may not have written yet.
func (f *fixture) logWith(p *corev1.Pod, container, text string) string {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if log := f.log(p, container); strings.Contains(log, text) || time.Now().After(end) {
			return log
		}
	}
}

func hasLog(container, text string) func(*testing.T, *fixture, *corev1.Pod) {
	return func(t *testing.T, f *fixture, p *corev1.Pod) {
		if log := f.logWith(p, container, text); !strings.Contains(log, text) {
			t.Errorf("the log of %s lacks %q: %q", container, text, log)
		}
	}
}

func hasEvent(text string) func(*testing.T, *fixture, *corev1.Pod) {
	return func(t *testing.T, f *fixture, p *corev1.Pod) {
		deadline := time.Now().Add(5 * time.Second)
		for !strings.Contains(f.events(p.Name), text) {
			if time.Now().After(deadline) {
				t.Errorf("no event %q in\n%s", text, f.events(p.Name))
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func exec(command ...string) corev1.ProbeHandler {
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}}
}

func stories() []story {
	always := corev1.ContainerRestartPolicyAlways
	yes, uid, group, mode := true, int64(1234), int64(4321), int32(0o644)
	return []story{
		{"succeeds", newPod("succeeds", "echo done > /dev/termination-log", never), phase(corev1.PodSucceeded), func(t *testing.T, _ *fixture, p *corev1.Pod) {
			s := p.Status.ContainerStatuses[0].State.Terminated
			if s == nil || s.ExitCode != 0 || s.Reason != "Completed" || s.Message != "done\n" {
				t.Errorf("terminated: %+v", s)
			}
		}},
		{"fails", newPod("fails", "exit 7", never), phase(corev1.PodFailed), func(t *testing.T, _ *fixture, p *corev1.Pod) {
			if s := p.Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 7 || s.Reason != "Error" {
				t.Errorf("terminated: %+v", s)
			}
		}},
		{"crashes", newPod("crashes", "exit 1"), waiting("CrashLoopBackOff"), func(t *testing.T, f *fixture, p *corev1.Pod) {
			s := p.Status.ContainerStatuses[0]
			if s.RestartCount != 1 || s.LastTerminationState.Terminated == nil || p.Status.Phase != corev1.PodRunning {
				t.Errorf("status %+v", s)
			}
			if !strings.HasPrefix(s.State.Waiting.Message, "back-off 10s restarting failed container=c pod=crashes_default(") {
				t.Errorf("message %q", s.State.Waiting.Message)
			}
			hasEvent("Back-off restarting failed container c in pod crashes_default")(t, f, p)
		}},
		{"init order", newPod("init", "cat /d/log; "+forever, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			one, side, two := shell("one", "echo one >> /d/log"), shell("side", "echo side >> /d/log; touch /d/up; "+forever), shell("two", "echo two >> /d/log")
			side.RestartPolicy = &always
			side.StartupProbe = &corev1.Probe{ProbeHandler: exec("test", "-e", "/d/up"), PeriodSeconds: 1, FailureThreshold: 30}
			p.Spec.InitContainers = []corev1.Container{one, side, two}
			for i := range p.Spec.InitContainers {
				p.Spec.InitContainers[i].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
			}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
		}), ready, func(t *testing.T, f *fixture, p *corev1.Pod) {
			log := f.logWith(p, "c", "two")
			if i, j, k := strings.Index(log, "one"), strings.Index(log, "side"), strings.Index(log, "two"); i < 0 || j < i || k < j {
				t.Errorf("order: %q", log)
			}
		}},
		{"missing config", newPod("config", forever, func(p *corev1.Pod) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "missing"}}}}
		}), waiting("CreateContainerConfigError"), hasEvent(`configmap "missing" not found`)},
		{"missing image", newPod("image", forever, func(p *corev1.Pod) {
			p.Spec.Containers[0].Image = "127.0.0.1:1/none:v1"
		}), waiting("ImagePullBackOff"), hasEvent(`Back-off pulling image "127.0.0.1:1/none:v1"`)},
		{"never pulled", newPod("never", forever, func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "127.0.0.1:1/none:v1", corev1.PullNever
		}), waiting("ErrImageNeverPull"), hasEvent("is not present with pull policy of Never")},
		{"bad command", newPod("command", "", func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"/nowhere"} }), waiting("RunContainerError"), nil},
		{"env and args", newPod("env", "", never, func(p *corev1.Pod) {
			p.Spec.Containers[0].Command = []string{"/bin/echo", "$(GREETING)", "$$(GREETING)", "$(UNKNOWN)", "$(IP)"}
			p.Spec.Containers[0].Env = []corev1.EnvVar{
				{Name: "GREETING", Value: "hello"},
				{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"}}},
			}
		}), phase(corev1.PodSucceeded), hasLog("c", "hello $(GREETING) $(UNKNOWN) 10.99.0.")},
		{"identity", newPod("identity", "id; hostname; cat /etc/hosts /etc/resolv.conf; touch /x || echo read-only", never, func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &uid, RunAsGroup: &group, FSGroup: &group}
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: &yes}
		}), phase(corev1.PodSucceeded), func(t *testing.T, f *fixture, p *corev1.Pod) {
			for _, text := range []string{
				"uid=1234 gid=4321", "identity", "# Kubernetes-managed hosts file.", "search default.svc.cluster.local svc.cluster.local cluster.local",
				"nameserver 10.96.0.10", "options ndots:5", "read-only",
			} {
				hasLog("c", text)(t, f, p)
			}
		}},
		{"volumes of the API", newPod("projection", "cat /d/name; echo x > /d/name || echo refused; echo x > /e/x && echo taken", never, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "d", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{DefaultMode: &mode, Items: []corev1.DownwardAPIVolumeFile{
					{Path: "name", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}},
				}}}},
				{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}, {Name: "e", MountPath: "/e"}}
		}), phase(corev1.PodSucceeded), func(t *testing.T, f *fixture, p *corev1.Pod) {
			for _, text := range []string{"projection", "refused", "taken"} {
				hasLog("c", text)(t, f, p)
			}
		}},
		{"root forbidden", newPod("nonroot", forever, func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
		}), waiting("CreateContainerConfigError"), hasEvent("container has runAsNonRoot and image will run as root")},
		{"becomes ready", newPod("readiness", "sleep 1; touch /tmp/ok; "+forever, func(p *corev1.Pod) {
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: exec("cat", "/tmp/ok"), PeriodSeconds: 1}
		}), ready, hasEvent("Readiness probe failed: ")},
		{"serves", newPod("http", "mkdir -p /tmp/w; echo ok > /tmp/w/index.html; httpd -f -p 8080 -h /tmp/w", func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("web")}}}
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}}
		}), ready, nil},
		{"dies of its probe", newPod("liveness", "touch /tmp/ok; sleep 1; rm /tmp/ok; "+forever, func(p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: exec("cat", "/tmp/ok"), PeriodSeconds: 1, FailureThreshold: 2}
		}), func(p *corev1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount > 0
		}, hasEvent("Container c failed liveness probe, will be restarted")},
		{"deadline", newPod("deadline", forever, never, func(p *corev1.Pod) {
			seconds := int64(2)
			p.Spec.ActiveDeadlineSeconds = &seconds
		}), phase(corev1.PodFailed), func(t *testing.T, _ *fixture, p *corev1.Pod) {
			if p.Status.Reason != "DeadlineExceeded" {
				t.Errorf("status %+v", p.Status)
			}
		}},
		{"hooks", newPod("hooks", "cat /tmp/hook; "+forever, func(p *corev1.Pod) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo hook > /proc/1/fd/1"}}}}
		}), ready, hasLog("c", "hook")},
		{"limits", newPod("limits", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true", never, func(p *corev1.Pod) {
			list := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("100m")}
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
		}), phase(corev1.PodSucceeded), func(t *testing.T, f *fixture, p *corev1.Pod) {
			hasLog("c", "67108864")(t, f, p)
			if p.Status.QOSClass != corev1.PodQOSGuaranteed {
				t.Errorf("class %s", p.Status.QOSClass)
			}
		}},
		{"too much memory", newPod("oom", "dd if=/dev/zero of=/dev/null bs=200M count=1", never, func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("16Mi")}
		}), phase(corev1.PodFailed), func(t *testing.T, _ *fixture, p *corev1.Pod) {
			if s := p.Status.ContainerStatuses[0].State.Terminated; s == nil || s.Reason != "OOMKilled" || s.ExitCode != 137 {
				t.Errorf("terminated: %+v", s)
			}
		}},
		{"host network", newPod("hostnet", forever, func(p *corev1.Pod) { p.Spec.HostNetwork = true }), ready, func(t *testing.T, _ *fixture, p *corev1.Pod) {
			if p.Status.PodIP != p.Status.HostIP {
				t.Errorf("status %+v", p.Status)
			}
		}},
		{"shared processes", newPod("pids", "sleep 1; ps; "+forever, func(p *corev1.Pod) {
			p.Spec.ShareProcessNamespace = &yes
			p.Spec.Containers = append(p.Spec.Containers, shell("other", "sleep 1234"))
		}), ready, nil},
	}
}

func TestFeatures(t *testing.T) {
	f := start(t)
	all := stories()
	for _, s := range all {
		f.create(s.pod)
	}
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			f := &fixture{t: t, node: f.node, client: f.client, root: f.root, kubelet: f.kubelet}
			p := f.await(s.pod.Name, s.name, s.wanted)
			if s.then != nil {
				s.then(t, f, p)
			}
		})
	}
	begun := time.Now()
	for _, s := range all {
		f.delete(s.pod.Name)
	}
	for _, s := range all {
		f.await(s.pod.Name, "gone", gone)
	}
	t.Logf("%d pods deleted in %v", len(all), time.Since(begun))
	for _, s := range all {
		left, err := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", nodetest.CgroupRoot(), "*", "pod"+string(s.pod.UID)))
		if err != nil || len(left) > 0 {
			t.Errorf("cgroups left: %v %v", left, err)
		}
	}
}
