package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skiff/config"
)

func TestSchedulingFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	cfg := config.Default()
	cfg.NodeName, cfg.Scheduling.ConfigFile = "here", file
	const header = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	for text, want := range map[string]string{
		header + "leaderElection: {leaderElect: true}": "",
		header + "profile: []":                         "scheduler-config: " + file + `: strict decoding error: unknown field "profile": mend the file`,
		header + "parallelism: 0":                      "scheduler-config: " + file + ": parallelism: Invalid value: 0: should be an integer value greater than zero: mend the file",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := scheduling(&cfg)
		switch {
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("got %v, want %s", err, want)
		case want == "" && (err != nil || !strings.HasPrefix(got.Identity, "here_")):
			t.Errorf("got %+v, %v", got, err)
		}
	}
	cfg.Scheduling.ConfigFile = ""
	if got, err := scheduling(&cfg); err != nil || len(got.Profiles) != 0 {
		t.Errorf("without a file: %+v, %v", got, err)
	}
}
