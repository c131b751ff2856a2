package etcd

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLongTimersGoOffTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPaced()
		time.Sleep(300 * time.Millisecond)
		for _, tc := range []struct{ wait, want time.Duration }{
			{750 * time.Millisecond, 700 * time.Millisecond},
			{time.Second, 700 * time.Millisecond},
			{1250 * time.Millisecond, 1700 * time.Millisecond},
			{15 * time.Second, 14700 * time.Millisecond},
			{500 * time.Millisecond, 700 * time.Millisecond},
			{100 * time.Millisecond, 100 * time.Millisecond},
			{0, 0},
		} {
			if got := c.round(tc.wait); got != tc.want {
				t.Errorf("%s became %s, want %s", tc.wait, got, tc.want)
			}
		}
		timer := c.NewTimer(800 * time.Millisecond)
		for range 5 {
			<-timer.C()
			if off := c.Since(c.start) % time.Second; off != 0 {
				t.Errorf("went off %s after a beat", off)
			}
			timer.Reset(1250 * time.Millisecond)
		}
	})
}
