package ttl

import "testing"

func TestNext(t *testing.T) {
	current := 0
	for _, tt := range []struct{ nodes, seconds int }{
		{1, 0}, {100, 0}, {101, 15}, {95, 15}, {90, 15}, {89, 0}, {5000, 300}, {1800, 300}, {1799, 60}, {600, 30}, {449, 15}, {0, 0},
	} {
		if current = Next(current, tt.nodes); Seconds(current) != tt.seconds {
			t.Errorf("%d nodes: %d s, want %d s", tt.nodes, Seconds(current), tt.seconds)
		}
	}
}
