package queue

// Reason is a plugin that keeps pods of a scheduler name waiting.
type Reason struct{ Plugin, Profile string }

// Reasons counts the waiting pods by the plugins that turned them down; a pod counts for each of them.
func (q *Queue) Reasons() map[Reason]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	reasons := map[Reason]int{}
	for _, p := range q.pods {
		profile := p.Info.Pod.Spec.SchedulerName
		if p.GatedBy != "" {
			reasons[Reason{p.GatedBy, profile}]++
		}
		for plugin := range p.UnschedulablePlugins.Union(p.PendingPlugins) {
			if plugin != p.GatedBy {
				reasons[Reason{plugin, profile}]++
			}
		}
	}
	return reasons
}

// InFlight counts the changes that are kept for attempts under way, by label.
func (q *Queue) InFlight() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := map[string]int{}
	for i := range q.inFlight.changes {
		events[q.inFlight.changes[i].Event.Label]++
	}
	return events
}
