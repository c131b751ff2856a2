// Package script tells what users see of the controllers, one story a txtar script: kubectl against an API server with all
// controllers, the scheduler and hollow nodes, whose pods and nodes do what annotations say (kubelet/hollow).
//
// Scripts of testdata/shared have a namespace of their own in one cluster; those of testdata/clock a cluster of their own,
// whose time they move; those of a folder of testdata/turns take turns in one. Besides what testscript knows there are
//
//	kubectl ARG...                 kubectl itself, in the script's namespace
//	eventually PATTERN CMD...      again and again until CMD succeeds and its output matches
//	let NAME CMD...                sets $NAME to what CMD prints
//	clock +DURATION                lets time pass at once
//	load MILLICORES                has the pods of the namespace use so much CPU together, as autoscalers see it
//	time NAME DURATION             sets $NAME to what the clock shows after DURATION
//	clock dst ZONE spring|autumn D goes to D before the zone's next change, whose day is then $DAY
package script
