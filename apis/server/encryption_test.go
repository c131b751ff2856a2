package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	kmsapi "k8s.io/kms/apis/v2"
	"k8s.io/kms/pkg/service"

	"skiff/apis/server"
	"skiff/config"
	"skiff/test/env"
)

// Keys of 32 bytes.
const (
	firstKey  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	secondKey = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI="
)

// encryption is a configuration with the providers, in order, for secrets and widgets.
func encryption(providers ...string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets, widgets.example.com]\n  providers:\n  - " +
		strings.Join(providers, "\n  - ") + "\n"
}

func provider(name, keyName, key string) string {
	return fmt.Sprintf("%s: {keys: [{name: %s, secret: %s}]}", name, keyName, key)
}

// encrypted starts a server on the directory under the configuration.
func encrypted(t *testing.T, dir, content string) *env.Server {
	t.Helper()
	path := record(t, content)
	return env.Start(t, env.Options{Dir: dir, Configure: func(c *server.Config) { c.Encryption.ConfigFile = path }})
}

// stored is the value of a key as etcd has it.
func stored(t *testing.T, s *env.Server, key string) []byte {
	t.Helper()
	got, err := s.Etcd.Client.Client.Get(t.Context(), key)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("%s: %v, %v", key, got, err)
	}
	return got.Kvs[0].Value
}

const (
	secretKey = "/registry/secrets/sealed/s"
	widgetKey = "/registry/example.com/widgets/sealed/w"
)

// checkStored expects both objects behind the prefix, and nothing of them in clear.
func checkStored(t *testing.T, s *env.Server, prefix string) {
	t.Helper()
	for _, key := range []string{secretKey, widgetKey} {
		raw := stored(t, s, key)
		if !bytes.HasPrefix(raw, []byte(prefix)) {
			t.Errorf("%s begins with %q, want %q", key, raw[:min(len(raw), 40)], prefix)
		}
		if clear := bytes.Contains(raw, []byte("creationTimestamp")) || bytes.Contains(raw, []byte("whisper")); clear != (prefix == "") {
			t.Errorf("%s in clear: %v", key, clear)
		}
	}
}

func sealedWidgets(s *env.Server) dynamic.ResourceInterface {
	return dynamic.NewForConfigOrDie(s.Admin()).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Namespace("sealed")
}

// seal makes a secret and a custom resource.
func seal(t *testing.T, s *env.Server) {
	t.Helper()
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Admin())
	namespace(t, client, "sealed")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": "whisper"}}
	if _, err := client.CoreV1().Secrets("sealed").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := clientset.NewForConfigOrDie(s.Admin()).ApiextensionsV1().CustomResourceDefinitions().Create(ctx, widgets(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": "w"}}}
	eventually(t, "widgets are served", func() (bool, error) {
		_, err := sealedWidgets(s).Create(ctx, w, metav1.CreateOptions{})
		return err == nil, err
	})
}

// rewrite gets both objects and replaces them by themselves.
func rewrite(t *testing.T, s *env.Server) {
	t.Helper()
	ctx := t.Context()
	secrets := kubernetes.NewForConfigOrDie(s.Admin()).CoreV1().Secrets("sealed")
	secret, err := secrets.Get(ctx, "s", metav1.GetOptions{})
	if err != nil || string(secret.Data["k"]) != "whisper" {
		t.Fatalf("reading: %v, %v", secret, err)
	}
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the widget is rewritten", func() (bool, error) { // its definition may not be served yet
		w, err := sealedWidgets(s).Get(ctx, "w", metav1.GetOptions{})
		if err == nil {
			_, err = sealedWidgets(s).Update(ctx, w, metav1.UpdateOptions{})
		}
		return err == nil, err
	})
}

// TestKeyRotation takes one data directory from clear text through all
// providers with keys of their own, and back.
func TestKeyRotation(t *testing.T) {
	dir := t.TempDir()
	s := env.Start(t, env.Options{Dir: dir})
	seal(t, s)
	checkStored(t, s, "")
	s.Stop()
	clear := "identity: {}"
	cbc, gcm, box := provider("aescbc", "one", firstKey), provider("aesgcm", "one", firstKey), provider("secretbox", "one", secondKey)
	two := "aescbc: {keys: [{name: two, secret: " + secondKey + "}, {name: one, secret: " + firstKey + "}]}"
	before := ""
	for _, step := range []struct {
		providers []string
		prefix    string
	}{
		{[]string{cbc, clear}, "k8s:enc:aescbc:v1:one:"},
		{[]string{two}, "k8s:enc:aescbc:v1:two:"},
		{[]string{gcm, two}, "k8s:enc:aesgcm:v1:one:"},
		{[]string{box, gcm}, "k8s:enc:secretbox:v1:one:"},
		{[]string{clear, box}, ""},
	} {
		s := encrypted(t, dir, encryption(step.providers...))
		checkStored(t, s, before)
		rewrite(t, s)
		checkStored(t, s, step.prefix)
		before = step.prefix
		s.Stop()
	}
}

// TestMissingKey says which key an object that can't be read was written with.
func TestMissingKey(t *testing.T) {
	dir := t.TempDir()
	s := encrypted(t, dir, encryption(provider("aescbc", "lost", firstKey)))
	seal(t, s)
	s.Stop()
	only := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" +
		"- resources: [secrets]\n  providers: [{" + provider("aescbc", "lost", firstKey) + "}]\n"
	another := "- resources: [widgets.example.com]\n  providers: [{" + provider("aescbc", "found", secondKey) + "}]\n"
	for name, content := range map[string]string{"no key": only, "another key": only + another} {
		t.Run(name, func(t *testing.T) {
			s := encrypted(t, dir, content)
			defer s.Stop()
			eventually(t, "the reason", func() (bool, error) {
				_, err := sealedWidgets(s).Get(t.Context(), "w", metav1.GetOptions{})
				return err != nil && strings.Contains(err.Error(), widgetKey) && strings.Contains(err.Error(), "k8s:enc:aescbc:v1:lost:"), err
			})
		})
	}
}

// TestEncryptionReload changes the file under a running server.
func TestEncryptionReload(t *testing.T) {
	poll := controller.EncryptionConfigFileChangePollDuration
	controller.EncryptionConfigFileChangePollDuration = 10 * time.Millisecond
	t.Cleanup(func() { controller.EncryptionConfigFileChangePollDuration = poll })
	path := record(t, encryption(provider("aescbc", "one", firstKey)))
	s := env.Start(t, env.Options{Configure: func(c *server.Config) {
		c.Encryption = config.Encryption{ConfigFile: path, AutomaticReload: true}
	}})
	seal(t, s)
	checkStored(t, s, "k8s:enc:aescbc:v1:one:")
	replace := func(content string) {
		next := path + ".next"
		if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	rest := kubernetes.NewForConfigOrDie(s.Admin()).RESTClient()
	replace("kind: nonsense")
	eventually(t, "the bad file is noticed", func() (bool, error) {
		data, err := rest.Get().AbsPath("/metrics").DoRaw(t.Context())
		return bytes.Contains(data, []byte(`status="failure"`)), err
	})
	rewrite(t, s)
	checkStored(t, s, "k8s:enc:aescbc:v1:one:")
	replace(encryption(provider("secretbox", "two", secondKey), provider("aescbc", "one", firstKey)))
	eventually(t, "the new key is used", func() (bool, error) {
		rewrite(t, s)
		return bytes.HasPrefix(stored(t, s, secretKey), []byte("k8s:enc:secretbox:v1:two:")), nil
	})
	if _, err := rest.Get().AbsPath("/readyz/kms-providers").DoRaw(t.Context()); err != nil {
		t.Error(err)
	}
}

// plugin is a key management service that turns bytes over.
type plugin struct{ asked atomic.Int32 }

func (p *plugin) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	return &service.EncryptResponse{Ciphertext: turn(data), KeyID: "the-key"}, nil
}

func (p *plugin) Decrypt(_ context.Context, _ string, r *service.DecryptRequest) ([]byte, error) {
	if r.KeyID != "the-key" {
		return nil, errors.New("another key")
	}
	return turn(r.Ciphertext), nil
}

// Status is not well when first asked.
func (p *plugin) Status(context.Context) (*service.StatusResponse, error) {
	r := &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: "the-key"}
	if p.asked.Add(1) == 1 {
		r.Healthz = "waking up"
	}
	return r, nil
}

func turn(data []byte) []byte {
	out := bytes.Clone(data)
	for i := range out {
		out[i] ^= 0xff
	}
	return out
}

// serveKeys runs the plugin on a socket and returns its address.
func serveKeys(t *testing.T, p *plugin) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "kms.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(g, service.NewGRPCService(path, patience, p))
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "unix://" + path
}

// TestKeyManagementService is ready when its plugin is, and has data keys of its own.
func TestKeyManagementService(t *testing.T) {
	p := &plugin{}
	kms := "kms: {apiVersion: v2, name: vault, timeout: 3s, endpoint: \"" + serveKeys(t, p) + "\"}"
	s := encrypted(t, "", encryption(kms, "identity: {}"))
	if asked := p.asked.Load(); asked < 2 {
		t.Errorf("ready after the plugin was asked %d times", asked)
	}
	seal(t, s)
	checkStored(t, s, "k8s:enc:kms:v2:vault:")
	rewrite(t, s)
	rest := kubernetes.NewForConfigOrDie(s.Admin()).RESTClient()
	for path, want := range map[string]bool{"/readyz/kms-providers": true, "/healthz/kms-providers": true, "/livez/kms-providers": false} {
		if _, err := rest.Get().AbsPath(path).DoRaw(t.Context()); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestUnusableEncryptionFiles(t *testing.T) {
	for name, content := range map[string]string{
		"empty":            "",
		"no resources":     "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration",
		"unknown provider": encryption("rot13: {}"),
		"short key":        encryption(provider("aescbc", "one", "c2hvcnQ=")),
		"not base64":       encryption(provider("secretbox", "one", "?")),
		"no providers":     "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets]}]",
		"endpoint":         encryption("kms: {apiVersion: v2, name: v, endpoint: \"tcp://x\"}"),
		"first version":    encryption("kms: {apiVersion: v1, name: v, endpoint: \"unix:///x\"}"),
		"masked":           "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: ['*.*', secrets], providers: [{identity: {}}]}]",
	} {
		t.Run(name, func(t *testing.T) {
			path := record(t, content)
			err := server.CheckEncryption(config.Encryption{ConfigFile: path})
			var e *config.Error
			if !errors.As(err, &e) || e.Key != "encryption-provider-config" || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q", err)
			}
		})
	}
	absent := encryption("kms: {apiVersion: v2, name: v, endpoint: \"unix:///absent.sock\"}")
	if err := server.CheckEncryption(config.Encryption{ConfigFile: record(t, absent)}); err != nil {
		t.Errorf("a plugin that does not run yet: %v", err)
	}
}
