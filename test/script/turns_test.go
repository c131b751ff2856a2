package script

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestTurns tells the stories of a folder of testdata/turns one after the other in one cluster, whose time they move. A
// story finds the time as the one before left it.
func TestTurns(t *testing.T) {
	folders, err := os.ReadDir("testdata/turns")
	if err != nil || len(folders) == 0 {
		t.Fatal("no stories", err)
	}
	for _, folder := range folders {
		t.Run(folder.Name(), func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob(filepath.Join("testdata/turns", folder.Name(), "*.txtar"))
			if err != nil || len(files) == 0 {
				t.Fatal("no stories", err)
			}
			c := newCluster(t, patient)
			for _, file := range files {
				t.Run("turn", func(t *testing.T) { c.run(t, file) })
				c.clear(t)
			}
		})
	}
}

// clear removes the namespaces of the stories that were told.
func (c *cluster) clear(t *testing.T) {
	t.Helper()
	namespaces := c.Client.CoreV1().Namespaces()
	list, err := namespaces.List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list.Items {
		if strings.HasPrefix(n.Name, "story-") && n.DeletionTimestamp == nil {
			if err := namespaces.Delete(context.Background(), n.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
