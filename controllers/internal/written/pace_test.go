package written

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestPace(t *testing.T) {
	var p Pace
	key, other := types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got := p.Wait(key, Rest(1000, 10), now); got != 0 {
		t.Errorf("the first write waits %s", got)
	}
	p.Wrote(key, now)
	for _, c := range []struct {
		key     types.NamespacedName
		objects int32
		after   time.Duration
		want    time.Duration
	}{
		{key, 1000, 0, 4 * time.Second},
		{key, 1000, 400 * time.Millisecond, 3600 * time.Millisecond},
		{key, 1000, 4 * time.Second, 0},
		{key, 1000, time.Hour, 0},
		{key, 3, 0, 15 * time.Millisecond},
		{key, 3, 16 * time.Millisecond, 0},
		{key, 0, 0, 0},
		{key, 1000, -time.Hour, 4 * time.Second}, // a clock that was set back
		{other, 1000, 0, 0},
	} {
		if got := p.Wait(c.key, Rest(c.objects, 0), now.Add(c.after)); got != c.want {
			t.Errorf("%d objects of %s, %s after a write: waits %s, want %s", c.objects, c.key.Name, c.after, got, c.want)
		}
	}
	p.Forget(key)
	if got := p.Wait(key, Rest(1000, 10), now); got != 0 {
		t.Errorf("a forgotten key waits %s", got)
	}
}

func TestLeavingRestsLonger(t *testing.T) {
	if got := RestOfLeaving(1000); got != 12*time.Second {
		t.Errorf("1,000 objects that leave rest %s", got)
	}
}

func TestNewsOfAHalfDoesNotRest(t *testing.T) {
	for _, c := range []struct {
		objects, news int32
		want          bool
	}{{1000, 499, true}, {1000, 500, false}, {1000, 0, true}, {3, 0, true}, {3, 1, false}, {0, 0, false}} {
		if got := Rest(c.objects, c.news) > 0; got != c.want {
			t.Errorf("news of %d of %d rests: %v", c.news, c.objects, got)
		}
	}
}

func TestGather(t *testing.T) {
	for objects, want := range map[int32]time.Duration{0: 0, 3: 600 * time.Microsecond, 1000: 200 * time.Millisecond, 1500: 200 * time.Millisecond} {
		if got := Gather(objects); got != want {
			t.Errorf("%d objects: %s, want %s", objects, got, want)
		}
	}
}
