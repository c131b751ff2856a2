package property

import "pgregory.net/rapid"

func drawCrash() *rapid.Generator[crash] {
	return rapid.Custom(func(t *rapid.T) crash {
		return crash{Write: rapid.IntRange(1, 25).Draw(t, "write"), After: rapid.Bool().Draw(t, "after")}
	})
}

func drawAction() *rapid.Generator[action] {
	all := []action{
		{What: "scale", On: "deployment"}, {What: "image", On: "deployment"}, {What: "strategy", On: "deployment"}, {What: "recreate", On: "deployment"},
		{What: "scale", On: "statefulset"}, {What: "image", On: "statefulset"}, {What: "partition", On: "statefulset"},
		{What: "image", On: "daemonset"}, {What: "strategy", On: "daemonset"},
		{What: "parallelism", On: "job-indexed"}, {What: "parallelism", On: "job-plain"},
		{What: "end pod", On: "job-indexed"}, {What: "end pod", On: "job-plain"},
		{What: "silence node"}, {What: "wake node"}, {What: "rest"}, {What: "breathe"},
	}
	for _, on := range []string{"deployment", "statefulset", "daemonset", "job-indexed", "job-plain"} {
		all = append(all, action{What: "delete pod", On: on}, action{What: "evict pod", On: on})
	}
	return rapid.Custom(func(t *rapid.T) action {
		a := rapid.SampledFrom(all).Draw(t, "what")
		a.N, a.M = rapid.IntRange(0, 4).Draw(t, "n"), rapid.IntRange(0, 4).Draw(t, "m")
		return a
	})
}

// drawHistory draws what users, pods and nodes do, in chapters.
func drawHistory() *rapid.Generator[[]action] {
	return rapid.Custom(func(t *rapid.T) []action {
		var out []action
		for range rapid.IntRange(1, 3).Draw(t, "chapters") {
			out = append(out, drawChapter().Draw(t, "chapter")...)
		}
		return out
	})
}

// drawChapter draws a rollout that begins when all is at rest, and what comes between. Rules are strict at rest: until then
// what was asked before excuses a controller, and most of what is drawn freely happens in such a time.
func drawChapter() *rapid.Generator[[]action] {
	return rapid.Custom(func(t *rapid.T) []action {
		on := rapid.SampledFrom([]string{"deployment", "daemonset", "statefulset", "deployment"}).Draw(t, "rollout of")
		var out []action
		if on != "statefulset" && rapid.Bool().Draw(t, "by another strategy") {
			out = append(out, action{What: "strategy", On: on, N: rapid.IntRange(0, 2).Draw(t, "surge"), M: rapid.IntRange(0, 2).Draw(t, "unavailable")})
		}
		out = append(out, action{What: "rest"}, action{What: "image", On: on, N: rapid.IntRange(5, 1000).Draw(t, "new image")})
		return append(out, rapid.SliceOfN(drawAction(), 0, 5).Draw(t, "between")...)
	})
}
