package server_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

// victimDir tells a copy of the test binary to be the server that is killed.
const victimDir = "SKIFF_TEST_VICTIM_DIR"

// TestVictim is no test: it writes until it is killed, and prints the name of
// every object whose creation was answered.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		t.Skip("only run by TestKillLosesNothing")
	}
	s := env.Start(t, env.Options{Dir: dir})
	client := kubernetes.NewForConfigOrDie(s.Admin())
	for i := 0; ; i++ {
		name := fmt.Sprintf("written-%d", i)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"name": name}}
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("acknowledged", name)
	}
}

// TestKillLosesNothing kills a server in the middle of its writes. A second one
// on the same data must know everything the first one answered.
func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
	victim.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var names []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
			if names = append(names, name); len(names) == 200 {
				if err := victim.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	_ = victim.Wait() // it was killed
	if len(names) < 200 {
		t.Fatalf("the victim wrote only %d objects", len(names))
	}
	s := env.Start(t, env.Options{Dir: dir})
	list, err := kubernetes.NewForConfigOrDie(s.Admin()).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, cm := range list.Items {
		found[cm.Data["name"]] = true
	}
	for _, name := range names {
		if !found[name] {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
}
