package job

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

const noIndex = -1

// indexes is a set of completion indexes; its text is that of the API: "1,3-5".
type indexes map[int]bool

// parse reads the text form up to the number of completions; what cannot be read is left out.
func parse(text string, completions int) indexes {
	set := indexes{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		for i := first; i <= min(last, completions-1); i++ {
			set[i] = true
		}
	}
	return set
}

func (s indexes) len() int       { return len(s) }
func (s indexes) has(i int) bool { return s[i] }
func (s indexes) add(i int)      { s[i] = true }

func (s indexes) and(other indexes) indexes {
	both := indexes{}
	for i := range s {
		if other[i] {
			both[i] = true
		}
	}
	return both
}

// String writes the text form; runs of two are two numbers.
func (s indexes) String() string {
	var parts []string
	sorted := slices.Sorted(maps.Keys(s))
	for i := 0; i < len(sorted); {
		j := i
		for j+1 < len(sorted) && sorted[j+1] == sorted[j]+1 {
			j++
		}
		switch {
		case j == i:
			parts = append(parts, strconv.Itoa(sorted[i]))
		case j == i+1:
			parts = append(parts, strconv.Itoa(sorted[i]), strconv.Itoa(sorted[j]))
		default:
			parts = append(parts, strconv.Itoa(sorted[i])+"-"+strconv.Itoa(sorted[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// indexOf answers a pod's completion index.
func indexOf(pod *corev1.Pod) (int, bool) {
	i, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	return i, err == nil && i >= 0
}

// duplicates answers the active pods whose index is done, given up, out of range or served by another pod.
func (p *planner) duplicates() []*corev1.Pod {
	if !indexed(p.Job) {
		return nil
	}
	var surplus []*corev1.Pod
	taken := map[int]bool{}
	for _, pod := range slices.SortedFunc(slices.Values(p.active), func(a, b *corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	}) {
		i, ok := indexOf(pod)
		if !ok || taken[i] || p.completed.has(i) || p.failed.has(i) || i >= int(*p.Job.Spec.Completions) {
			surplus = append(surplus, pod)
			continue
		}
		taken[i] = true
	}
	return surplus
}

// freeIndexes answers the lowest n indexes that need a pod.
func (p *planner) freeIndexes(n int) []int {
	busy := map[int]bool{}
	for _, pod := range p.Pods {
		i, ok := indexOf(pod)
		waits := p.onlyFailed() && pod.DeletionTimestamp != nil && !(pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded)
		if ok && (slices.Contains(p.active, pod) || waits) {
			busy[i] = true
		}
	}
	var free []int
	for i := 0; i < int(*p.Job.Spec.Completions) && len(free) < n; i++ {
		if !busy[i] && !p.completed.has(i) && !p.failed.has(i) {
			free = append(free, i)
		}
	}
	return free
}

// lastFailures answers, for a job that counts failures per index, the last failed pod of every index that is to be tried
// again. It is held until its successor is made, which learns from it how often the index has failed.
func (p *planner) lastFailures() map[int]*corev1.Pod {
	if p.Job.Spec.BackoffLimitPerIndex == nil {
		return nil
	}
	tried := map[int]bool{}
	for _, pod := range p.active {
		if i, ok := indexOf(pod); ok {
			tried[i] = true
		}
	}
	last := map[int]*corev1.Pod{}
	for _, pod := range p.Pods {
		i, ok := p.indexOf(pod)
		if !ok || !tracked(pod) || !p.hasFailed(pod) || tried[i] || p.completed.has(i) || p.failed.has(i) {
			continue
		}
		if old := last[i]; old == nil || attempts(old) <= attempts(pod) && !endOf(pod).Before(endOf(old)) {
			last[i] = pod
		}
	}
	return last
}

// indexOf answers a pod's completion index if it is one of the job's.
func (p *planner) indexOf(pod *corev1.Pod) (int, bool) {
	i, ok := indexOf(pod)
	return i, ok && indexed(p.Job) && i < int(*p.Job.Spec.Completions)
}

// due divides indexes into those that may be tried now and how long the first of the others must wait.
func (p *planner) due(all []int) (now []int, wait time.Duration) {
	for _, i := range all {
		left := time.Duration(0)
		if last := p.last[i]; last != nil {
			left = pause(attempts(last)+1) - p.Now.Sub(endOf(last))
		}
		switch {
		case left <= 0:
			now = append(now, i)
		case wait == 0 || left < wait:
			wait = left
		}
	}
	return now, wait
}
