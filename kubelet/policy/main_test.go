package policy

import (
	"os"
	"testing"

	"skiff/kubelet/network/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }
