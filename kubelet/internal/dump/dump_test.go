package dump

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhole(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		interrupted int // lists before one that is whole
		end         error
		want        error
		asked       int
	}{
		"quiet":       {0, nil, nil, 1},
		"interrupted": {3, nil, nil, 4},
		"failed":      {1, broken, broken, 2},
		"for ever":    {tries, nil, netlink.ErrDumpInterrupted, tries},
	} {
		asked := 0
		found, err := Whole(func() ([]int, error) {
			if asked++; asked <= tt.interrupted {
				return []int{1}, netlink.ErrDumpInterrupted
			}
			return []int{1, 2}, tt.end
		})
		if !errors.Is(err, tt.want) || asked != tt.asked || err == nil && len(found) != 2 {
			t.Errorf("%s: %v, %v after %d lists", name, found, err, asked)
		}
	}
}
