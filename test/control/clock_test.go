package control

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC)
		c := NewClock(start)
		called := make(chan bool, 1)
		c.AfterFunc(90*time.Minute, func() { called <- true })
		hour, tick := c.NewTimer(time.Hour), c.NewTicker(time.Minute)
		defer tick.Stop()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if len(tick.C()) != 0 || len(hour.C()) != 0 {
			t.Error("too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(tick.C()) != 1 {
			t.Error("the clock doesn't go by itself")
		}
		<-tick.C()
		c.Jump(59 * time.Minute)
		synctest.Wait()
		if len(hour.C()) != 1 || len(tick.C()) != 1 || len(called) != 0 {
			t.Errorf("%d of a timer, %d of a ticker, %d of a function", len(hour.C()), len(tick.C()), len(called))
		}
		if got := c.Now(); !got.Equal(start.Add(time.Hour)) {
			t.Errorf("it is %s", got)
		}
		c.Jump(time.Hour)
		synctest.Wait()
		if len(called) != 1 || hour.Stop() {
			t.Error("a wait that is over lasts")
		}
		<-hour.C()
		hour.Reset(time.Second)
		if !hour.Stop() {
			t.Error("a wait that was begun anew is over")
		}
	})
}
