package env

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func service(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: ports},
	}
}

// world is what the tests' pods find in their namespace.
func world() []runtime.Object {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	return []runtime.Object{
		service("default", "kubernetes", "10.96.0.1", corev1.ServicePort{Name: "https", Port: 443, Protocol: "TCP"}),
		service("shop", "red-is", "fd00::7", corev1.ServicePort{Port: 53, Protocol: "UDP"}, corev1.ServicePort{Name: "alt-dns", Port: 5353}),
		service("shop", "headless", "None", corev1.ServicePort{Port: 1}),
		service("elsewhere", "unseen", "10.96.0.9", corev1.ServicePort{Port: 1}),
		&corev1.ConfigMap{ObjectMeta: meta("settings"), Data: map[string]string{"color": "red", "bad key": "kept, it is printable", "ключ": "no"}},
		&corev1.Secret{ObjectMeta: meta("keys"), Data: map[string][]byte{"token": []byte("s3cret")}},
	}
}

func start(t *testing.T) (*Builder, *record.FakeRecorder) {
	t.Helper()
	client := fake.NewClientset(world()...)
	factory := informers.NewSharedInformerFactory(client, 0)
	events := record.NewFakeRecorder(10)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file.env"), []byte("# comment\nNAME='from a file'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "escape")); err != nil {
		t.Fatal(err)
	}
	b := New(Deps{
		Client: client, Informers: factory, Events: events,
		Allocatable: func() corev1.ResourceList {
			return corev1.ResourceList{"memory": resource.MustParse("8Gi"), "cpu": resource.MustParse("2")}
		},
		VolumePath: func(_ *corev1.Pod, volume string) (string, error) {
			if volume != "shared" {
				return "", fmt.Errorf("volume %q is not mounted", volume)
			}
			return dir, nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() { cancel(); factory.Shutdown() })
	return b, events
}

func podAndContainer(t *testing.T, container string) (*corev1.Pod, *corev1.Container) {
	t.Helper()
	c := &corev1.Container{}
	if err := yaml.UnmarshalStrict([]byte(container), c); err != nil {
		t.Fatal(err)
	}
	c.Name = "main"
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "u-1",
			Labels: map[string]string{"app.kubernetes.io/name": "web"}, Annotations: map[string]string{"note": "hi"},
		},
		Spec: corev1.PodSpec{
			NodeName: "node-1", ServiceAccountName: "runner", EnableServiceLinks: new(false), Containers: []corev1.Container{*c},
		},
		Status: corev1.PodStatus{HostIP: "192.0.2.1", HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}, {IP: "2001:db8::1"}}},
	}
	return pod, c
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, container string
		want            []string // NAME=value besides the API's service, in order
		err             string
		links           bool
	}{
		{name: "nothing", container: `{}`},
		{
			name:      "expansion sees what stands before",
			container: `env: [{name: B, value: "$(A)"}, {name: A, value: "1"}, {name: C, value: "$(A)-$$(A)-$(KUBERNETES_SERVICE_HOST)"}]`,
			want:      []string{"B=$(A)", "A=1", "C=1-$(A)-10.96.0.1"},
		},
		{
			name:      "later entries win and services lose",
			container: `env: [{name: A, value: "1"}, {name: KUBERNETES_PORT, value: "mine"}, {name: A, value: "$(A)2"}]`,
			want:      []string{"A=12", "KUBERNETES_PORT=mine"},
		},
		{
			name: "fields",
			container: `env:
- {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app.kubernetes.io/name']"}}}
- {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
- {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: SA, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
- {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
- {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
- {name: HOSTS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}`,
			want: []string{
				"NAME=web", "UID=u-1", "LABEL=web", "NOTE=hi", "NODE=node-1", "SA=runner",
				"IP=10.1.1.1", "IPS=10.1.1.1,fd00::1", "HOST=192.0.2.1", "HOSTS=192.0.2.1,2001:db8::1",
			},
		},
		{name: "unknown field", container: `env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.hostname}}}]`, err: "unsupported fieldPath: spec.hostname"},
		{
			name: "resources are rounded up and fall back to the node",
			container: `resources: {limits: {cpu: 1500m}, requests: {memory: 100Mi}}
env:
- {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
- {name: MILLI, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
- {name: ASKED, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}
- {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}}
- {name: NONE, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}`,
			want: []string{"CPU=2", "MILLI=1500", "ASKED=100", "LIMIT=8", "NONE=0"},
		},
		{
			name: "keys",
			container: `env:
- {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
- {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
- {name: GONE, valueFrom: {configMapKeyRef: {name: absent, key: x, optional: true}}}
- {name: GONE2, valueFrom: {secretKeyRef: {name: keys, key: x, optional: true}}}`,
			want: []string{"COLOR=red", "TOKEN=s3cret"},
		},
		{name: "missing map", container: `env: [{name: A, valueFrom: {configMapKeyRef: {name: absent, key: x}}}]`, err: `configmap "absent" not found`},
		{name: "missing secret", container: `env: [{name: A, valueFrom: {secretKeyRef: {name: absent, key: x}}}]`, err: `secret "absent" not found`},
		{name: "missing key", container: `env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: x}}}]`, err: "couldn't find key x in ConfigMap shop/settings"},
		{name: "missing secret key", container: `env: [{name: A, valueFrom: {secretKeyRef: {name: keys, key: x}}}]`, err: "couldn't find key x in Secret shop/keys"},
		{
			name:      "all keys with a prefix, which env replaces",
			container: `{envFrom: [{prefix: P_, configMapRef: {name: settings}}, {secretRef: {name: keys}}, {configMapRef: {name: absent, optional: true}}], env: [{name: token, value: "$(token)!"}]}`,
			want:      []string{"token=s3cret!", "P_bad key=kept, it is printable", "P_color=red"},
		},
		{name: "all keys of nothing", container: `envFrom: [{secretRef: {name: absent}}]`, err: `secret "absent" not found`},
		{
			name: "files",
			container: `env:
- {name: A, valueFrom: {fileKeyRef: {volumeName: shared, path: file.env, key: NAME}}}
- {name: B, valueFrom: {fileKeyRef: {volumeName: shared, path: file.env, key: OTHER, optional: true}}}
- {name: C, valueFrom: {fileKeyRef: {volumeName: shared, path: absent, key: OTHER, optional: true}}}`,
			want: []string{"A=from a file"},
		},
		{name: "missing file key", container: `env: [{name: A, valueFrom: {fileKeyRef: {volumeName: shared, path: file.env, key: NONE}}}]`, err: `environment variable key "NONE" not found in file "file.env"`},
		{name: "a file outside", container: `env: [{name: A, valueFrom: {fileKeyRef: {volumeName: shared, path: escape, key: NONE, optional: true}}}]`, err: "path escapes from parent"},
		{
			name: "services", container: `{}`, links: true,
			want: []string{
				"RED_IS_PORT=udp://[fd00::7]:53",
				"RED_IS_PORT_5353_TCP=tcp://[fd00::7]:5353", "RED_IS_PORT_5353_TCP_ADDR=fd00::7",
				"RED_IS_PORT_5353_TCP_PORT=5353", "RED_IS_PORT_5353_TCP_PROTO=tcp",
				"RED_IS_PORT_53_UDP=udp://[fd00::7]:53", "RED_IS_PORT_53_UDP_ADDR=fd00::7", "RED_IS_PORT_53_UDP_PORT=53", "RED_IS_PORT_53_UDP_PROTO=udp",
				"RED_IS_SERVICE_HOST=fd00::7", "RED_IS_SERVICE_PORT=53", "RED_IS_SERVICE_PORT_ALT_DNS=5353",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, _ := start(t)
			pod, container := podAndContainer(t, c.container)
			pod.Spec.EnableServiceLinks = &c.links
			got, err := b.Environment(t.Context(), pod, container, "10.1.1.1", []string{"10.1.1.1", "fd00::1"})
			if c.err != "" {
				if err == nil || !strings.HasSuffix(err.Error(), c.err) {
					t.Fatalf("fails with %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, c.want)
		})
	}
}

// check compares variables with those wanted and, unless they are replaced, those of the API's service.
func check(t *testing.T, got []corev1.EnvVar, want []string) {
	t.Helper()
	var own []string
	api := map[string]string{}
	for _, v := range got {
		text := v.Name + "=" + v.Value
		if strings.HasPrefix(v.Name, "KUBERNETES_") && v.Value != "mine" {
			api[v.Name] = v.Value
			continue
		}
		own = append(own, text)
	}
	if strings.Join(own, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(own, "\n"), strings.Join(want, "\n"))
	}
	for name, value := range map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
		"KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
	} {
		if api[name] != value {
			t.Errorf("%s is %q, want %q", name, api[name], value)
		}
	}
}

func TestInvalidNamesAreSkippedWithAnEvent(t *testing.T) {
	t.Parallel()
	b, events := start(t)
	pod, container := podAndContainer(t, `envFrom: [{configMapRef: {name: settings}}]`)
	if _, err := b.Environment(t.Context(), pod, container, "", nil); err != nil {
		t.Fatal(err)
	}
	want := "Warning InvalidEnvironmentVariableNames Keys [ключ] from the EnvFrom configMap shop/settings were skipped since they are considered invalid environment variable names."
	if got := <-events.Events; got != want {
		t.Errorf("the event is\n%s\nwant\n%s", got, want)
	}
}

func TestServicesMustBeKnown(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset()
	b := New(Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
	pod, container := podAndContainer(t, `{}`)
	if _, err := b.Environment(t.Context(), pod, container, "", nil); err == nil {
		t.Error("an environment was built without knowing the services")
	}
}
