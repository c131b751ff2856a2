package ttl

// step is one size of cluster: the numbers of nodes that it is good for, and the seconds that nodes may cache.
type step struct{ least, most, seconds int }

// steps overlap, so that a cluster at a border doesn't change back and forth.
var steps = []step{{0, 100, 0}, {90, 500, 15}, {450, 1000, 30}, {900, 2000, 60}, {1800, 1 << 31, 300}}

// Next answers the step for a cluster of so many nodes that was at step current, an index.
func Next(current, nodes int) int {
	for current+1 < len(steps) && nodes > steps[current].most {
		current++
	}
	for current > 0 && nodes < steps[current].least {
		current--
	}
	return current
}

// Seconds answers how long nodes may cache at the step.
func Seconds(current int) int { return steps[current].seconds }
