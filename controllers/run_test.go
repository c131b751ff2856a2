package controllers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"skiff/controllers"
	"skiff/test/env"
)

func TestRunLeavesNothingBehind(t *testing.T) {
	s := env.Start(t, env.Options{})
	client := kubernetes.NewForConfigOrDie(s.Admin())
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	factory := informers.NewSharedInformerFactory(client, 0)
	all, err := controllers.New(controllers.Default(), controllers.Deps{ClientConfig: s.Config, Informers: factory, RootCA: s.PKI.CA()})
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	ended := make(chan error, 1)
	go func() { ended <- all.Run(ctx) }()
	c := &cluster{t: t, client: client}
	c.eventually("work", func(ctx context.Context) string {
		if _, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	stopping := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(stopping); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
	factory.Shutdown()
	if err := goleak.Find(before); err != nil {
		for stack := range strings.SplitSeq(err.Error(), "\n\n") { // the server goes on, and may have new ones of its own
			if strings.Contains(stack, "skiff/controllers/") || strings.Contains(stack, "controller-runtime") || strings.Contains(stack, "client-go/tools/cache") {
				t.Error(stack)
			}
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	cfg := controllers.Default()
	if err := cfg.Validate(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	cfg.NodeMonitorGrace = 0
	if cfg.Validate() == nil {
		t.Error("a grace of nothing is accepted")
	}
	if _, err := controllers.New(cfg, controllers.Deps{}); err == nil {
		t.Error("New takes what Validate refuses")
	}
}
