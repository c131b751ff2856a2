package cache

import "maps"

// imageCounts counts on how many nodes each image name is.
type imageCounts struct {
	counts  map[string]int
	changed bool
}

func (i *imageCounts) replace(before, after map[string]int64) {
	for name := range before {
		if _, kept := after[name]; kept {
			continue
		}
		i.changed = true
		if i.counts[name]--; i.counts[name] == 0 {
			delete(i.counts, name)
		}
	}
	for name := range after {
		if _, had := before[name]; !had {
			i.changed = true
			i.counts[name]++
		}
	}
}

// publish answers a copy that will not change, and whether it differs from the last one.
func (i *imageCounts) publish() (map[string]int, bool) {
	if !i.changed {
		return nil, false
	}
	i.changed = false
	return maps.Clone(i.counts), true
}
