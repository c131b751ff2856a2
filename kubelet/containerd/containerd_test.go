package containerd

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"k8s.io/klog/v2"
)

func valid() Config {
	return Config{Root: "/r", State: "/s", Socket: "/s/c.sock", BinDir: "/b", CNIBinDir: "/b", CNIConfDir: "/c", PauseImage: "p:1"}
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"root must be an absolute path":                  func(c *Config) { c.Root = "r" },
		"socket must be an absolute path":                func(c *Config) { c.Socket = "" },
		"9 bytes too long for the sockets below it":      func(c *Config) { c.State = "/" + strings.Repeat("x", 48) },
		"containerd needs the name of the sandbox image": func(c *Config) { c.PauseImage = "" },
	} {
		c := valid()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestSettings(t *testing.T) {
	c := valid()
	c.RuncRoot = "/s/runc"
	plugins := c.server(true).Plugins
	if got := plugins["io.containerd.cri.v1.runtime"].(settings)["restrict_oom_score_adj"]; got != true {
		t.Errorf("restrict_oom_score_adj %v", got)
	}
	if got := plugins["io.containerd.cri.v1.images"].(settings)["pinned_images"].(settings)["sandbox"]; got != "p:1" {
		t.Errorf("sandbox image %v", got)
	}
}

func TestFullName(t *testing.T) {
	for in, want := range map[string]string{
		"busybox":             "docker.io/library/busybox:latest",
		"me/app:v1":           "docker.io/me/app:v1",
		"skiff.local/pause:1": "skiff.local/pause:1",
		"localhost:5000/a:b":  "localhost:5000/a:b",
	} {
		if got := fullName(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// TestLogger checks that containerd's records arrive and that its Fatal doesn't end the process.
func TestLogger(t *testing.T) {
	var lines []string
	sink := funcr.New(func(prefix, args string) { lines = append(lines, prefix+" "+args) }, funcr.Options{Verbosity: 2})
	ctx := klog.NewContext(context.Background(), sink)
	entry := logger(ctx)
	entry.WithError(errors.New("cause")).WithField("k", "v").Error("failed")
	entry.Fatal("ended")
	entry.Info("dull")
	if len(lines) != 2 || !strings.Contains(lines[0], `"failed" "k"="v" "err"="cause"`) || !strings.Contains(lines[1], `"ended"`) {
		t.Errorf("%q", lines)
	}
}
