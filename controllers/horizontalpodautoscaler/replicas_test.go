package horizontalpodautoscaler

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// read makes pods and samples of a line with a word for each pod: what it uses ("-" for no sample), before that
// u for a pod that is not ready and never was, h for one that became ready just now, p for pending, x for failed and
// d for terminating, behind it @ and what it requests, in thousandths, if that is not 1000.
func read(t *testing.T, line string) ([]*corev1.Pod, Samples) {
	t.Helper()
	var pods []*corev1.Pod
	samples := Samples{}
	for i, word := range strings.Fields(line) {
		used, request, own := strings.Cut(word, "@")
		if !own {
			request = "1000"
		}
		flags := used[:len(used)-len(strings.TrimLeft(used, "uhpxd"))]
		used = used[len(flags):]
		pod := pod(fmt.Sprint(i), request+"m", flags)
		pods = append(pods, pod)
		if used == "-" {
			continue
		}
		n, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		samples[pod.Name] = Sample{Value: n, At: epoch(), Window: time.Minute}
	}
	return pods, samples
}

func pod(name, request, flags string) *corev1.Pod {
	start := metav1.NewTime(epoch().Add(-time.Hour))
	ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(start.Add(time.Minute))}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Resources: requesting(request)}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start},
	}
	for _, f := range flags {
		switch f {
		case 'u':
			ready.Status, ready.LastTransitionTime = corev1.ConditionFalse, start
		case 'h':
			p.Status.StartTime, ready.LastTransitionTime = new(metav1.NewTime(epoch())), metav1.NewTime(epoch())
		case 'p':
			p.Status.Phase = corev1.PodPending
		case 'x':
			p.Status.Phase = corev1.PodFailed
		case 'd':
			p.DeletionTimestamp = new(metav1.NewTime(epoch()))
		}
	}
	p.Status.Conditions = []corev1.PodCondition{ready}
	return p
}

func requesting(cpu string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}
}

var patience = Patience{Initialization: 2 * time.Minute, Readiness: 10 * time.Second}

func usageOf(pods []*corev1.Pod, replicas int32, t Tolerance) usage {
	return usage{Replicas: replicas, Status: replicas, Tolerance: t, Pods: pods, Patience: patience, Now: epoch()}
}

func TestByUtilization(t *testing.T) {
	tenth := Tolerance{0.1, 0.1}
	tests := []struct {
		name              string
		pods              string
		replicas, target  int32
		tolerance         Tolerance
		want, utilization int32
		average           int64
	}{
		{"more", "300 500 700", 3, 30, tenth, 5, 50, 500},
		{"more, one is not ready", "u300 500 700", 3, 30, tenth, 4, 60, 600},
		{"more, one starts", "h300 500 700", 3, 30, tenth, 4, 60, 600},
		{"more is too much while two are not ready", "400 u500 u700", 3, 30, tenth, 3, 40, 400},
		{"more is too much while two start", "400 h500 h700", 3, 30, tenth, 3, 40, 400},
		{"more, failed ones count for nothing", "500 700 xu- xu-", 2, 30, tenth, 4, 60, 600},
		{"more, failed ones count for nothing whatever they use", "500 700 x9000 x9000", 2, 30, tenth, 4, 60, 600},
		{"more, terminating ones count for nothing", "500 700 du- du-", 2, 30, tenth, 4, 60, 600},
		{"more, terminating ones count for nothing whatever they use", "500 700 d9000 d1", 2, 30, tenth, 4, 60, 600},
		{"fewer", "100 300 500 250 250", 5, 50, tenth, 3, 28, 280},
		{"fewer, those not ready count for nothing", "100 300 500 u250 u250", 5, 50, tenth, 2, 30, 300},
		{"fewer, pending ones count for nothing", "100 pu- pu- pu- pu-", 5, 50, tenth, 1, 10, 100},
		{"fewer, pending ones count for nothing whatever they use", "100 p300 p500 p250 p250", 5, 50, tenth, 1, 10, 100},
		{"fewer, starting ones count for nothing", "100 300 500 h1000 h1000", 5, 50, tenth, 2, 30, 300},
		{"fewer, failed ones count for nothing", "100 300 500 250 250 xu- xu-", 5, 50, tenth, 3, 28, 280},
		{"fewer, terminating ones count for nothing", "100 300 500 250 250 du- du-", 5, 50, tenth, 3, 28, 280},
		{"near enough", "1010@900 1030@1000 1020@1100", 3, 100, tenth, 3, 102, 1020},
		{"nothing is near enough", "909@900 1010@1000 1111@1100", 3, 100, Tolerance{}, 4, 101, 1010},
		{"near enough above by its own measure", "1890@900 1910@1000 1900@1100", 3, 100, Tolerance{0.1, 2}, 3, 190, 1900},
		{"too far above, whatever holds below", "1100@900 1080@1000 1090@1100", 3, 100, Tolerance{2, .08}, 4, 109, 1090},
		{"near enough below by its own measure", "660@900 640@1000 650@1100", 3, 100, Tolerance{.36, .1}, 3, 65, 650},
		{"too far below", "660@900 640@1000 650@1100", 3, 100, Tolerance{.34, .1}, 2, 65, 650},
		{"exactly at the upper end", "1100", 1, 100, tenth, 1, 110, 1100},
		{"just above it", "1110", 1, 100, tenth, 2, 111, 1110},
		{"exactly at the lower end", "900 900 900", 3, 100, tenth, 3, 90, 900},
		{"just below it", "890 890 890 890 890 890 890 890 890 890", 10, 100, tenth, 9, 89, 890},
		{"many times as much", "4000 9500 3000 7000", 4, 100, tenth, 24, 587, 5875},
		{"fewer, unknown ones use all", "400 95 - -", 4, 100, tenth, 3, 24, 247},
		{"at the target with one unknown", "1000 -", 2, 100, tenth, 2, 100, 1000},
		{"above, were the unknown one not idle", "1900 -", 2, 100, tenth, 2, 190, 1900},
		{"below, were the unknown one not busy", "600 -", 2, 100, tenth, 2, 60, 600},
		{"below with one unready and one unknown", "u100 450 -", 3, 50, tenth, 3, 45, 450},
		{"below with one starting and one unknown", "h100 450 -", 3, 50, tenth, 3, 45, 450},
		{"above with one unready and one unknown", "u100 2000 -", 3, 50, tenth, 4, 200, 2000},
		{"above with one starting and one unknown", "uh100 2000 -", 3, 50, tenth, 4, 200, 2000},
		{"fewer with one unready and one unknown", "u100 100 100 -", 4, 50, tenth, 3, 10, 100},
		{"a target above all, one unknown", "u200 100 100@2000 -@2000", 4, 300, tenth, 2, 6, 100},
		{"a surge's pod is unknown yet", "100 100 -", 2, 50, tenth, 2, 10, 100},
		{"a surge's pods may take the load", "900 900 - -", 2, 50, tenth, 2, 90, 900},
		{"guesses never turn around: down stays", "440 -", 2, 50, tenth, 2, 44, 440},
		{"a target above all, most unknown", "990 - - -", 4, 200, tenth, 4, 99, 990},
		{"guesses never turn around: up stays", "600 u- u- u-", 4, 50, tenth, 4, 60, 600},
		{"fewer than wanted are ready, and those are idle", "100 100", 5, 50, tenth, 1, 10, 100},
		{"one at the target", "500", 1, 50, tenth, 1, 50, 500},
		{"idle", "0 0 0", 3, 50, tenth, 0, 0, 0},
		{"twice", "1000 1000", 2, 50, tenth, 4, 100, 1000},
		{"rounded up", "510 610", 2, 50, tenth, 3, 56, 560},
		{"unequal requests weigh", "900@3000 100@1000", 2, 50, tenth, 1, 25, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pods, samples := read(t, tt.pods)
			got, percent, average, err := usageOf(pods, tt.replicas, tt.tolerance).byUtilization(samples, corev1.ResourceCPU, "", tt.target)
			if err != nil || got != tt.want || percent != tt.utilization || average != tt.average {
				t.Errorf("%d replicas at %d%%, %dm each; want %d at %d%%, %dm; %v", got, percent, average, tt.want, tt.utilization, tt.average, err)
			}
		})
	}
}

func TestByAverage(t *testing.T) {
	tenth := Tolerance{0.1, 0.1}
	tests := []struct {
		name      string
		pods      string
		resource  corev1.ResourceName
		replicas  int32
		target    int64
		tolerance Tolerance
		want      int32
		average   int64
	}{
		{"more", "20000 10000 30000", "", 3, 15000, tenth, 4, 20000},
		{"more, how pods start is no matter", "50000 10000 uh30000", "", 3, 15000, tenth, 6, 30000},
		{"more, no pod is left out", "uh50000 15000 uh30000", "", 3, 15000, tenth, 7, 31666},
		{"more CPU, starting pods are left out", "50000 10000 uh30000", corev1.ResourceCPU, 3, 15000, tenth, 4, 30000},
		{"more memory, how pods start is no matter", "50000 10000 uh30000", corev1.ResourceMemory, 3, 15000, tenth, 6, 30000},
		{"fewer", "12000 12000 12000 12000 12000", "", 5, 20000, tenth, 3, 12000},
		{"near enough", "20000 21000 21000", "", 3, 20000, tenth, 3, 20666},
		{"near enough by another's measure", "20000 21000 21000", "", 3, 20000, Tolerance{.1, .01}, 4, 20666},
		{"unknown ones are at the target", "20000 19000 21000 - -", "", 5, 20000, tenth, 5, 20000},
		{"a surge's pod is unknown yet", "10000 10000 -", "", 2, 17000, tenth, 2, 10000},
		{"fewer, unknown ones are at the target", "1000 1000 1000 -", "", 4, 10000, tenth, 2, 1000},
		{"fewer, an unknown one leaves room", "0 0 0 -", "", 4, 10000, tenth, 1, 0},
		{"more, unknown ones are idle", "30000 30000 -", "", 3, 10000, tenth, 6, 30000},
		{"more, pending ones are idle", "30000 30000 p-", "", 3, 10000, tenth, 6, 30000},
		{"pending ones do not count down", "5000 p- p-", "", 3, 10000, tenth, 1, 5000},
		{"failed ones do not count", "5000 x90000", "", 2, 10000, tenth, 1, 5000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pods, samples := read(t, tt.pods)
			got, average, err := usageOf(pods, tt.replicas, tt.tolerance).byAverage(samples, tt.resource, tt.target)
			if err != nil || got != tt.want || average != tt.average {
				t.Errorf("%d replicas at %d, want %d at %d; %v", got, average, tt.want, tt.average, err)
			}
		})
	}
}

func TestByTotal(t *testing.T) {
	tenth := Tolerance{0.1, 0.1}
	tests := []struct {
		name          string
		pods          string
		replicas      int32
		value, target int64
		tolerance     Tolerance
		want          int32
	}{
		{"more", "1 1 1", 3, 20000, 15000, tenth, 4},
		{"fewer", "1 1 1 1 1", 5, 12000, 20000, tenth, 3},
		{"only ready pods count", "u1 1 u1", 3, 8600, 4400, tenth, 2},
		{"only running pods count", "1 p1 x1", 3, 30000, 10000, tenth, 3},
		{"near enough", "1 1 1", 3, 21900, 20000, tenth, 3},
		{"near enough by another's measure", "1 1 1", 3, 20666, 20000, Tolerance{.1, .01}, 4},
		{"from zero", "", 0, 20000, 15000, tenth, 2},
		{"from zero tolerance is no matter", "", 0, 15001, 15000, tenth, 2},
		{"from zero to one", "", 0, 1, 15000, tenth, 1},
		{"zero stays", "", 0, 0, 15000, tenth, 0},
		{"to zero", "1 1 1", 3, 0, 15000, tenth, 0},
		{"all there is", "1 1 1", 3, math.MaxInt64, math.MaxInt64, tenth, 3},
		{"more than can be told", "1 1 1", 3, math.MaxInt64, 1, tenth, math.MaxInt32},
		{"from zero more than can be told", "", 0, math.MaxInt64, 1, tenth, math.MaxInt32},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pods, _ := read(t, tt.pods)
			if got, err := usageOf(pods, tt.replicas, tt.tolerance).byTotal(tt.value, tt.target); err != nil || got != tt.want {
				t.Errorf("%d replicas, want %d; %v", got, tt.want, err)
			}
		})
	}
	if _, err := usageOf(nil, 3, tenth).byTotal(3, 1); err == nil || err.Error() != "unable to calculate ready pods: no pods returned by selector while calculating replica count" {
		t.Errorf("without pods: %v", err)
	}
}

func TestByShare(t *testing.T) {
	tenth := Tolerance{0.1, 0.1}
	tests := []struct {
		name          string
		status        int32
		value, target int64
		tolerance     Tolerance
		want          int32
		share         int64
	}{
		{"more", 3, 20000, 5000, tenth, 4, 6667},
		{"fewer", 5, 10000, 4000, tenth, 3, 2000},
		{"near enough", 4, 20208, 5000, tenth, 4, 5052},
		{"near enough by another's measure", 4, 20208, 5000, Tolerance{.1, .01}, 5, 5052},
		{"just too much", 3, 8600, 2800, Tolerance{.1, .01}, 4, 2867},
		{"nothing", 3, 0, 2800, tenth, 0, 0},
		{"no pods", 0, 8600, 2800, tenth, 4, 8600},
		{"no pods and nothing", 0, 0, 2800, tenth, 0, 0},
		{"more than can be told", 1, math.MaxInt64, 1, tenth, math.MaxInt32, math.MaxInt64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, share := usageOf(nil, tt.status, tt.tolerance).byShare(tt.value, tt.target)
			if got != tt.want || share != tt.share {
				t.Errorf("%d replicas with %d each, want %d with %d", got, share, tt.want, tt.share)
			}
		})
	}
}

func TestTotal(t *testing.T) {
	half := int64(math.MaxInt64/2 + 1)
	for want, values := range map[int64][]int64{0: nil, 6: {1, 2, 3}, 1: {3, -2}, math.MaxInt64: {half, half, -1}} {
		if got := total(values); got != want {
			t.Errorf("total of %v is %d, want %d", values, got, want)
		}
	}
}
