package scheduler

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
)

// TestEventsOfPodsWithLongNames: the name of an event is a valid one, however long its pod's is.
func TestEventsOfPodsWithLongNames(t *testing.T) {
	client, b := fake.NewClientset(), &background{}
	b.start(t.Context())
	all := newRecorders(client, b)
	one := all.of(DefaultName)
	stop, err := all.start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, name := range []string{"short", strings.Repeat("a", validation.DNS1123SubdomainMaxLength)} {
		pod := benchPod(1)
		pod.Name = name
		one.once(pod, "Scheduled", "Binding", "It has a node")
	}
	b.join()
	events, err := client.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(events.Items) != 2 {
		t.Fatalf("%d events, want 2", len(events.Items))
	}
	for _, e := range events.Items {
		if problems := validation.IsDNS1123Subdomain(e.Name); len(problems) > 0 {
			t.Errorf("the event of %s: %v", e.Regarding.Name, problems)
		}
	}
}
