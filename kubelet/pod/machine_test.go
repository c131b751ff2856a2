package pod

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/cri"
)

// epoch is when every case takes place.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world builds inputs.
type world struct{ in Input }

// given is a pod with regular containers a, b, ... and a mounted, ready world without anything in it.
func given(names ...string) *world {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways}}
	for _, name := range names {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: "i"})
	}
	memory := NewMemory()
	memory.Volumes = map[string]string{}
	return &world{Input{Pod: p, Memory: memory, Now: epoch, Probes: map[string]Health{}, Busy: Busy{
		Starting: map[string]bool{}, Killing: map[string]time.Time{}, Removing: map[string]bool{},
	}}}
}

func (w *world) with(change func(*Input)) *world {
	change(&w.in)
	return w
}

func (w *world) policy(p corev1.RestartPolicy) *world {
	return w.with(func(in *Input) { in.Pod.Spec.RestartPolicy = p })
}

func (w *world) init(names ...string) *world {
	return w.with(func(in *Input) {
		for _, name := range names {
			c := corev1.Container{Name: strings.TrimPrefix(name, "+"), Image: "i"}
			if strings.HasPrefix(name, "+") {
				always := corev1.ContainerRestartPolicyAlways
				c.RestartPolicy = &always
			}
			in.Pod.Spec.InitContainers = append(in.Pod.Spec.InitContainers, c)
		}
	})
}

// sandbox adds a sandbox with the next attempt.
func (w *world) sandbox(ready bool) *world {
	return w.with(func(in *Input) {
		n := len(in.Seen.Sandboxes)
		in.Seen.Sandboxes = append(in.Seen.Sandboxes, cri.Sandbox{ID: fmt.Sprintf("s%d", n), Attempt: uint32(n), Ready: ready})
	})
}

// has adds a container to the newest sandbox: running, created, or exited with a code some seconds ago.
func (w *world) has(name string, state cri.State, codeAgo ...int) *world {
	return w.with(func(in *Input) {
		attempt := uint32(0)
		for _, c := range in.Seen.Containers {
			if c.Name == name {
				attempt++
			}
		}
		c := cri.Container{
			ID: fmt.Sprintf("%s%d", name, attempt), Name: name, Attempt: attempt, State: state, SandboxID: in.Seen.Sandboxes[len(in.Seen.Sandboxes)-1].ID,
			Created: epoch.Add(-time.Hour), Started: epoch.Add(-time.Hour),
		}
		if len(codeAgo) > 0 {
			c.ExitCode = int32(codeAgo[0])
		}
		if state == cri.Exited {
			ago := 0
			if len(codeAgo) > 1 {
				ago = codeAgo[1]
			}
			c.Finished = epoch.Add(-time.Duration(ago) * time.Second)
		}
		in.Seen.Containers = append(in.Seen.Containers, c)
	})
}

func (w *world) deleted(graceSeconds int64) *world {
	return w.with(func(in *Input) {
		at := metav1.NewTime(epoch)
		in.Pod.DeletionTimestamp, in.Pod.DeletionGracePeriodSeconds = &at, &graceSeconds
	})
}

func (w *world) backOff(name string, delay time.Duration, updatedAgo time.Duration) *world {
	return w.with(func(in *Input) { in.Memory.Restarts[name] = Backoff{delay, epoch.Add(-updatedAgo)} })
}

// show is a plan as text: its steps, then its marks.
func show(p Plan) string {
	names := map[Kind]string{
		MountVolumes: "mount", CreateSandbox: "sandbox", StopSandbox: "stop", RemoveSandbox: "forget", StartContainer: "start",
		KillContainer: "kill", RemoveContainer: "remove", CleanUp: "clean",
	}
	var out []string
	for _, s := range p.Steps {
		text := names[s.Kind]
		switch s.Kind {
		case CreateSandbox:
			text += fmt.Sprintf(" %d", s.Attempt)
		case StopSandbox, RemoveSandbox, RemoveContainer:
			text += " " + s.ID
		case StartContainer:
			text += fmt.Sprintf(" %s#%d in %s", s.Container, s.Attempt, s.ID)
		case KillContainer:
			text += fmt.Sprintf(" %s %v", s.ID, s.Grace)
		}
		out = append(out, text)
	}
	if p.End != nil {
		out = append(out, strings.TrimSpace("END "+p.End.Reason))
	}
	if p.Over {
		out = append(out, "OVER")
	}
	if p.Final {
		out = append(out, "FINAL")
	}
	for _, name := range p.BackOff {
		out = append(out, "BACKOFF "+name)
	}
	if !p.Wake.IsZero() {
		out = append(out, fmt.Sprintf("WAKE %v", p.Wake.Sub(epoch)))
	}
	return strings.Join(out, ", ")
}

func TestNext(t *testing.T) {
	hook := func(in *Input) {
		in.Pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
	}
	starting := func(name string) func(*Input) {
		return func(in *Input) { in.Busy.Starting[name] = true }
	}
	stopped := func(id string) func(*Input) {
		return func(in *Input) { in.Memory.Stopped[id] = true }
	}
	seconds := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name, want string
		world      *world
	}{
		// From nothing to running.
		{"volumes come first", "mount", given("a").with(func(in *Input) { in.Memory.Volumes = nil })},
		{"and only once at a time", "", given("a").with(func(in *Input) { in.Memory.Volumes, in.Busy.Mounting = nil, true })},
		{"then the sandbox", "sandbox 0", given("a")},
		{"which is awaited", "", given("a").with(func(in *Input) { in.Busy.Sandbox = true })},
		{"and retried when it is time", "WAKE 3s", given("a").with(func(in *Input) { in.Memory.Sandbox = &WaitError{Retry: epoch.Add(3 * time.Second)} })},
		{"then the containers", "start a#0 in s0, start b#0 in s0", given("a", "b").sandbox(true)},
		{"of which none is started twice", "start b#0 in s0", given("a", "b").sandbox(true).with(starting("a"))},
		{"a hook holds back those behind", "start a#0 in s0", given("a", "b").sandbox(true).with(hook)},
		{"until it is over", "", given("a", "b").sandbox(true).has("a", cri.Running).with(hook).with(starting("a"))},
		{"then they follow", "start b#0 in s0", given("a", "b").sandbox(true).has("a", cri.Running).with(hook)},
		{"nothing to do while all run", "", given("a").sandbox(true).has("a", cri.Running)},
		{"a failed start is waited for", "WAKE 5s", given("a").sandbox(true).with(func(in *Input) { in.Memory.Failures["a"] = &WaitError{Retry: epoch.Add(5 * time.Second)} })},
		{"a container whose start was forgotten is replaced", "remove a0", given("a").sandbox(true).has("a", cri.Created)},

		// Init containers and sidecars.
		{"init containers go one by one", "start i#0 in s0", given("a").init("i", "j").sandbox(true)},
		{"the next waits while one runs", "", given("a").init("i", "j").sandbox(true).has("i", cri.Running)},
		{"and starts when it is done", "start j#0 in s0", given("a").init("i", "j").sandbox(true).has("i", cri.Exited, 0)},
		{"a failed one runs again", "start i#1 in s0", given("a").init("i", "j").sandbox(true).has("i", cri.Exited, 1)},
		{"unless the pod never restarts", "END, stop s0", given("a").init("i", "j").policy(corev1.RestartPolicyNever).sandbox(true).has("i", cri.Exited, 1)},
		{"all done, the containers start", "start a#0 in s0", given("a").init("i").sandbox(true).has("i", cri.Exited, 0)},
		{"a sidecar lets the next one start", "start i#0 in s0", given("a").init("+s", "i").sandbox(true).has("s", cri.Running)},
		{"once its startup probe succeeds", "", given("a").init("+s", "i").sandbox(true).has("s", cri.Running).with(func(in *Input) { in.Probes["s0"] = Health{} })},
		{"a dead sidecar comes back", "start s#1 in s0", given("a").init("+s").sandbox(true).has("s", cri.Exited, 0).has("a", cri.Running)},
		{"even where nothing else restarts", "start s#1 in s0", given("a").init("+s").policy(corev1.RestartPolicyNever).sandbox(true).has("s", cri.Exited, 0).has("a", cri.Running)},
		{"init containers don't run again", "", given("a").init("i").sandbox(true).has("a", cri.Running)},

		// Restarts.
		{"the first restart is immediate", "start a#1 in s0", given("a").sandbox(true).has("a", cri.Exited, 1)},
		{"the second waits", "BACKOFF a, WAKE 10s", given("a").sandbox(true).has("a", cri.Exited, 1).backOff("a", 10*time.Second, 5*time.Second)},
		{"counted from the exit", "BACKOFF a, WAKE 7s", given("a").sandbox(true).has("a", cri.Exited, 1, 3).backOff("a", 10*time.Second, 5*time.Second)},
		{"and then comes", "start a#1 in s0", given("a").sandbox(true).has("a", cri.Exited, 1, 11).backOff("a", 10*time.Second, 15*time.Second)},
		{"a long life clears the back-off", "start a#1 in s0", given("a").sandbox(true).has("a", cri.Exited, 1).backOff("a", restartMost, 11*time.Minute)},
		{"on failure only", "start b#1 in s0", given("a", "b").policy(corev1.RestartPolicyOnFailure).sandbox(true).has("a", cri.Exited, 0).has("b", cri.Exited, 2)},
		{"older dead containers are removed", "remove a0, start a#3 in s0", given("a").sandbox(true).has("a", cri.Exited, 1, 30).has("a", cri.Exited, 1, 20).has("a", cri.Exited, 1)},
		{"a new image means a new container", "kill a0 30s", given("a").sandbox(true).has("a", cri.Running).with(func(in *Input) {
			in.Seen.Containers[0].Annotations = map[string]string{cri.AnnotationHash: "other"}
		})},
		{"a failed probe too", "kill a0 30s", given("a").sandbox(true).has("a", cri.Running).with(func(in *Input) { in.Probes["a0"] = Health{Dead: "liveness"} })},
		{"with the probe's grace", "kill a0 3s", given("a").sandbox(true).has("a", cri.Running).with(func(in *Input) {
			in.Pod.Spec.Containers[0].StartupProbe = &corev1.Probe{TerminationGracePeriodSeconds: seconds(3)}
			in.Probes["a0"] = Health{Dead: "startup"}
		})},
		{"a kill under way is left alone", "", given("a").sandbox(true).has("a", cri.Running).with(func(in *Input) {
			in.Probes["a0"], in.Busy.Killing["a0"] = Health{Dead: "liveness"}, epoch.Add(20*time.Second)
		})},

		// A lost sandbox.
		{"a dead sandbox is stopped", "stop s0", given("a").sandbox(false).has("a", cri.Exited, 255)},
		{"after what still runs in it", "kill a0 30s", given("a").sandbox(false).has("a", cri.Running)},
		{"then replaced", "sandbox 1", given("a").sandbox(false).has("a", cri.Exited, 255).with(stopped("s0"))},
		{"everything starts anew", "start i#1 in s1", given("a").init("i").sandbox(false).has("i", cri.Exited, 0).has("a", cri.Exited, 1).sandbox(true)},
		{"but not what was done for good", "start b#1 in s1", given("a", "b").policy(corev1.RestartPolicyOnFailure).sandbox(false).
			has("a", cri.Exited, 0).has("b", cri.Exited, 1).sandbox(true)},
		{"a replaced sandbox is forgotten", "forget s0", given("a").sandbox(false).sandbox(true).has("a", cri.Running).with(stopped("s0"))},

		// The end.
		{"done for good", "END, stop s0", given("a").policy(corev1.RestartPolicyNever).sandbox(true).has("a", cri.Exited, 0)},
		{"after the sidecars", "kill s0 30s, END", given("a").init("+s").policy(corev1.RestartPolicyNever).sandbox(true).has("s", cri.Running).has("a", cri.Exited, 0)},
		{"deleted: the containers end", "kill a0 5s, kill b0 5s, END", given("a", "b").deleted(5).sandbox(true).has("a", cri.Running).has("b", cri.Running)},
		{"before the sidecars", "kill a0 5s, END", given("a").init("+s").deleted(5).sandbox(true).has("s", cri.Running).has("a", cri.Running)},
		{"which end from the last to the first", "kill t0 5s, END", given("a").init("+s", "+t").deleted(5).sandbox(true).
			has("s", cri.Running).has("t", cri.Running).has("a", cri.Exited, 0)},
		{"then the sandbox", "stop s0, END", given("a").deleted(5).sandbox(true).has("a", cri.Exited, 0)},
		{"then the rest", "clean, END, OVER", given("a").deleted(5).sandbox(false).has("a", cri.Exited, 0).with(stopped("s0"))},
		{"then nothing", "END, OVER, FINAL", given("a").deleted(5).sandbox(false).has("a", cri.Exited, 0).with(stopped("s0")).with(func(in *Input) { in.Memory.Cleaned = true })},
		{"deleted before it began", "clean, END, OVER", given("a").deleted(5)},
		{"deleted while it begins", "END", given("a").deleted(5).sandbox(true).with(starting("a"))},
		{"deleted at once", "kill a0 0s, END", given("a").deleted(0).sandbox(true).has("a", cri.Running)},
		{"a shorter grace replaces a longer one", "kill a0 2s, END", given("a").deleted(1).sandbox(true).has("a", cri.Running).with(func(in *Input) {
			in.Memory.End = &End{Since: epoch.Add(-5 * time.Second), Grace: 30 * time.Second}
			in.Busy.Killing["a0"] = epoch.Add(25 * time.Second)
		})},
		{"a longer one doesn't", "END", given("a").deleted(60).sandbox(true).has("a", cri.Running).with(func(in *Input) {
			in.Memory.End = &End{Since: epoch, Grace: 30 * time.Second}
			in.Busy.Killing["a0"] = epoch.Add(30 * time.Second)
		})},
		{"a deadline that passed", "kill a0 30s, END DeadlineExceeded", given("a").sandbox(true).has("a", cri.Running).with(func(in *Input) {
			at := metav1.NewTime(epoch.Add(-time.Minute))
			in.Pod.Status.StartTime, in.Pod.Spec.ActiveDeadlineSeconds = &at, seconds(60)
		})},
		{"a deadline ahead", "WAKE 10s", given("a").sandbox(true).has("a", cri.Running).with(func(in *Input) {
			at := metav1.NewTime(epoch.Add(-50 * time.Second))
			in.Pod.Status.StartTime, in.Pod.Spec.ActiveDeadlineSeconds = &at, seconds(60)
		})},
		{"a pod that was over stays over", "stop s0, END", given("a").sandbox(false).has("a", cri.Exited, 1).with(func(in *Input) { in.Pod.Status.Phase = corev1.PodFailed })},
	} {
		t.Run(c.name, func(t *testing.T) {
			// END is shown after the steps.
			want := strings.Split(c.want, ", ")
			got := strings.Split(show(Next(c.world.in)), ", ")
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestPhase(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  corev1.PodPhase
		world *world
	}{
		{"nothing yet", corev1.PodPending, given("a")},
		{"initializing", corev1.PodPending, given("a").init("i").sandbox(true).has("i", cri.Running)},
		{"running", corev1.PodRunning, given("a").sandbox(true).has("a", cri.Running)},
		{"one of two waits", corev1.PodPending, given("a", "b").sandbox(true).has("a", cri.Running)},
		{"crashed, will restart", corev1.PodRunning, given("a").sandbox(true).has("a", cri.Exited, 1)},
		{"done", corev1.PodSucceeded, given("a").policy(corev1.RestartPolicyNever).sandbox(true).has("a", cri.Exited, 0)},
		{"failed", corev1.PodFailed, given("a").policy(corev1.RestartPolicyNever).sandbox(true).has("a", cri.Exited, 1)},
		{"half done", corev1.PodRunning, given("a", "b").policy(corev1.RestartPolicyNever).sandbox(true).has("a", cri.Exited, 0).has("b", cri.Running)},
		{"on failure, failed", corev1.PodRunning, given("a").policy(corev1.RestartPolicyOnFailure).sandbox(true).has("a", cri.Exited, 1)},
		{"failed to initialize", corev1.PodFailed, given("a").init("i").policy(corev1.RestartPolicyNever).sandbox(true).has("i", cri.Exited, 1).
			with(func(in *Input) { in.Memory.Stopped["s0"] = true })},
		{"deleted while running", corev1.PodRunning, given("a").deleted(5).sandbox(true).has("a", cri.Running)},
		{"deleted and done well", corev1.PodSucceeded, given("a").deleted(5).sandbox(false).has("a", cri.Exited, 0).with(func(in *Input) { in.Memory.Stopped["s0"] = true })},
		{"deleted and killed", corev1.PodFailed, given("a").deleted(5).sandbox(false).has("a", cri.Exited, 137).with(func(in *Input) { in.Memory.Stopped["s0"] = true })},
		{"deleted before it began", corev1.PodFailed, given("a").deleted(5)},
		{"failed by the node before a restart", corev1.PodFailed, given("a").sandbox(false).has("a", cri.Exited, 0).
			with(func(in *Input) { in.Pod.Status.Phase = corev1.PodFailed })},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Phase(c.world.in, Next(c.world.in)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestBackoffDoublesToItsBound(t *testing.T) {
	b, now := Backoff{}, epoch
	var got []time.Duration
	for range 8 {
		b = b.Next(now, now)
		got = append(got, b.Delay)
		now = now.Add(b.Delay)
	}
	want := []time.Duration{10, 20, 40, 80, 160, 300, 300, 300}
	for i := range want {
		if got[i] != want[i]*time.Second {
			t.Fatalf("got %v", got)
		}
	}
	if again := b.Next(now.Add(11*time.Minute), now.Add(11*time.Minute)); again.Delay != 10*time.Second {
		t.Errorf("a long life leaves %v", again.Delay)
	}
}
