package storageversionmigrator

import (
	"fmt"
	"strings"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Migration is what the controller works on.
type Migration = migrationv1.StorageVersionMigration

// Step is what a migration needs next.
type Step int

// The steps, in the order in which a migration takes them.
//
//	pending ─Start→ Running ─Checkpoint→ Running, with a version ─Rewrite→ Running and Succeeded or Failed ─Finish→ done
const (
	// Rest: there is nothing to do.
	Rest Step = iota
	// Start makes the migration the running one of its resource.
	Start
	// Checkpoint notes up to which version objects are to be written again.
	Checkpoint
	// Rewrite writes them.
	Rewrite
	// Finish says that a migration which has succeeded or failed runs no more.
	Finish
)

const (
	reasonRunning   = "MigrationRunning"
	reasonCompleted = "MigrationCompleted"
	reasonSucceeded = "StorageVersionMigrationSucceeded"
	reasonFailed    = "StorageVersionMigrationFailed"

	textCompleted = "Migration completed"
)

// Next answers which of one resource's migrations goes on, and how: the one that runs, else the oldest that waits
// (KEP-4192: one at a time). What has ended is finished first, so that its resource is free.
func Next(all []*Migration) (Step, *Migration) {
	var running, waiting *Migration
	for _, m := range all {
		switch {
		case ended(m) && holds(m, migrationv1.MigrationRunning):
			return Finish, m
		case ended(m):
		case holds(m, migrationv1.MigrationRunning):
			running = earlier(running, m)
		default:
			waiting = earlier(waiting, m)
		}
	}
	switch {
	case running != nil && running.Status.ResourceVersion == "":
		return Checkpoint, running
	case running != nil:
		return Rewrite, running
	case waiting != nil:
		return Start, waiting
	default:
		return Rest, nil
	}
}

func earlier(a, b *Migration) *Migration {
	if a == nil {
		return b
	}
	order := b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	if order < 0 || (order == 0 && strings.Compare(b.Name, a.Name) < 0) {
		return b
	}
	return a
}

func holds(m *Migration, kind migrationv1.MigrationConditionType) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(kind))
}

func ended(m *Migration) bool {
	return holds(m, migrationv1.MigrationSucceeded) || holds(m, migrationv1.MigrationFailed)
}

// stage is all of a migration that Next looks at.
type stage struct {
	running, ended bool
	version        string
}

func stageOf(m *Migration) stage {
	return stage{holds(m, migrationv1.MigrationRunning), ended(m), m.Status.ResourceVersion}
}

// Started answers the migration as one that runs.
func Started(m *Migration, now time.Time) *Migration {
	return with(m, now, condition(migrationv1.MigrationRunning, reasonRunning, running(Progress{}, nil)))
}

// Checkpointed answers the migration with the version up to which objects are old.
func Checkpointed(m *Migration, version string) *Migration {
	m = m.DeepCopy()
	m.Status.ResourceVersion = version
	return m
}

// Interrupted answers the migration as one that goes on after what is wrong now has passed.
func Interrupted(m *Migration, p Progress, why error, now time.Time) *Migration {
	return with(m, now, condition(migrationv1.MigrationRunning, reasonRunning, running(p, why)))
}

// Succeeded answers the migration as one that has written everything.
func Succeeded(m *Migration, p Progress, now time.Time) *Migration {
	return with(m, now,
		condition(migrationv1.MigrationRunning, reasonRunning, running(p, nil)),
		condition(migrationv1.MigrationSucceeded, reasonSucceeded, textCompleted))
}

// Refused answers the migration as one that can't be.
func Refused(m *Migration, message string, now time.Time) *Migration {
	return with(m, now, condition(migrationv1.MigrationFailed, reasonFailed, message))
}

// Failed answers the migration as one that an error ended before an object was written.
func Failed(m *Migration, why error, now time.Time) *Migration {
	return Refused(m, fmt.Sprintf("migration encountered unhandled error: %s", why), now)
}

// FailedAt answers the migration as one that an error ended on its way.
func FailedAt(m *Migration, p Progress, why error, now time.Time) *Migration {
	return with(m, now,
		condition(migrationv1.MigrationRunning, reasonRunning, running(p, nil)),
		condition(migrationv1.MigrationFailed, reasonFailed, fmt.Sprintf("%d/%d not yet migrated. migration encountered unhandled error: %s", p.Left, p.Total, why)))
}

// Finished answers the migration as one that has run.
func Finished(m *Migration, now time.Time) *Migration {
	c := condition(migrationv1.MigrationRunning, reasonCompleted, textCompleted)
	c.Status, c.ObservedGeneration = metav1.ConditionFalse, m.Generation
	return with(m, now, c)
}

func condition(kind migrationv1.MigrationConditionType, reason, message string) metav1.Condition {
	return metav1.Condition{Type: string(kind), Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

func with(m *Migration, now time.Time, conditions ...metav1.Condition) *Migration {
	m = m.DeepCopy()
	for _, c := range conditions {
		c.LastTransitionTime = metav1.NewTime(now)
		meta.SetStatusCondition(&m.Status.Conditions, c)
	}
	return m
}

// Progress counts objects: Left are those that are yet to be written of the Total that there are.
type Progress struct{ Left, Total int }

// running says how far a migration is.
func running(p Progress, transient error) string {
	text := "The migration is running"
	switch {
	case p.Total == 0:
	case p.Left > 0:
		text += fmt.Sprintf(", %d/%d objects not yet migrated", p.Left, p.Total)
	default:
		text += fmt.Sprintf(", %d objects verified migrated", p.Total)
	}
	if transient != nil {
		text += fmt.Sprintf("; transient error: %s", transient)
	}
	return text
}

// Object is what of an object is needed to write it again.
type Object struct{ Namespace, Name, Version string }

// Old answers the objects that no one has written since version. Versions that can't be compared are an error.
func Old(objects []Object, version string) ([]Object, error) {
	var old []Object
	for _, o := range objects {
		order, err := resourceversion.CompareResourceVersion(o.Version, version)
		if err != nil {
			return nil, err
		}
		if order <= 0 {
			old = append(old, o)
		}
	}
	return old, nil
}
