package nodelifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	topology "k8s.io/component-helpers/node/topology"
)

// How many nodes of a zone may be given up in a time, as the defaults of v1.37 have it: one in ten seconds; one in a hundred
// when the larger part of the zone is out of order, and then none in a small zone.
const (
	interval     = 10 * time.Second
	slowInterval = 100 * time.Second
	unhealthy    = 0.55
	large        = 50
)

// Zone counts the nodes of one zone. Nodes without the labels of a zone are one.
type Zone struct{ Ready, NotReady int }

// Zones counts the nodes of each zone.
func Zones(nodes []*corev1.Node) map[string]Zone {
	zones := map[string]Zone{}
	for _, n := range nodes {
		key := topology.GetZoneKey(n)
		z := zones[key]
		if c := ready(n.Status.Conditions); c != nil && c.Status == corev1.ConditionTrue {
			z.Ready++
		} else {
			z.NotReady++
		}
		zones[key] = z
	}
	return zones
}

// Down answers whether no node of any zone is ready.
func Down(zones map[string]Zone) bool {
	for _, z := range zones {
		if z.Ready > 0 {
			return false
		}
	}
	return true
}

// Interval is the time between two nodes of the zone that are given up; ok is false when none is.
func (z Zone) Interval() (every time.Duration, ok bool) {
	all := z.Ready + z.NotReady
	switch {
	case z.Ready == 0, z.NotReady <= 2, float64(z.NotReady)/float64(all) < unhealthy:
		return interval, true
	case all > large:
		return slowInterval, true
	}
	return 0, false
}

// pace knows when the last node of a zone was given up.
type pace map[string]time.Time

// take answers whether a node of the zone may be given up now, and if not, when to ask again; 0 when that is up to the
// zone's nodes.
func (p pace) take(key string, z Zone, now time.Time) (again time.Duration, ok bool) {
	every, ok := z.Interval()
	if !ok {
		return 0, false
	}
	if wait := p[key].Add(every).Sub(now); wait > 0 {
		return wait, false
	}
	p[key] = now
	return 0, true
}
