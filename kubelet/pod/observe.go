package pod

import (
	"context"

	"skiff/kubelet/cri"
)

// observe reads what the runtime has of the pod. What can't have changed since the last look isn't asked for again: the status
// of a container in the same state, the addresses of a sandbox that has them.
func (w *worker) observe(ctx context.Context) (Seen, error) {
	w.mu.Lock()
	uid, old := string(w.pod.UID), w.seen
	w.mu.Unlock()
	var seen Seen
	sandboxes, err := w.deps.Runtime.Sandboxes(ctx, uid)
	if err != nil {
		return seen, err
	}
	for _, s := range sandboxes {
		full, err := w.sandbox(ctx, old, s)
		if cri.IsNotFound(err) {
			continue
		}
		if err != nil {
			return seen, err
		}
		seen.Sandboxes = append(seen.Sandboxes, full)
	}
	found, err := w.deps.Runtime.Containers(ctx, uid)
	if err != nil {
		return seen, err
	}
	for _, c := range found {
		full, err := w.container(ctx, old, c)
		if cri.IsNotFound(err) {
			continue
		}
		if err != nil {
			return seen, err
		}
		seen.Containers = append(seen.Containers, full)
	}
	return seen, nil
}

func (w *worker) sandbox(ctx context.Context, old Seen, listed cri.Sandbox) (cri.Sandbox, error) {
	for _, known := range old.Sandboxes {
		if known.ID == listed.ID && (len(known.IPs) > 0 || known.HostNetwork) {
			known.Ready = listed.Ready
			return known, nil
		}
	}
	return w.deps.Runtime.Sandbox(ctx, listed.ID)
}

func (w *worker) container(ctx context.Context, old Seen, listed cri.Container) (cri.Container, error) {
	for _, known := range old.Containers {
		if known.ID == listed.ID && known.State == listed.State {
			return known, nil
		}
	}
	full, err := w.deps.Runtime.Container(ctx, listed.ID)
	if err != nil {
		return full, err
	}
	full.SandboxID = listed.SandboxID
	if full.State == cri.Exited {
		full.Message = terminationMessage(full)
	}
	return full, nil
}
