package golden

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// normalise removes from an answer what differs from run to run. Recordings are
// normalised already; doing it again changes only the order of managedFields.
func normalise(obj map[string]any) {
	meta := object(obj["metadata"])
	for _, k := range []string{"uid", "creationTimestamp", "resourceVersion", "selfLink"} {
		delete(meta, k)
	}
	if managed := list(meta["managedFields"]); managed != nil {
		for _, e := range managed {
			delete(object(e), "time")
		}
		slices.SortFunc(managed, func(a, b any) int { return cmp.Compare(text(a), text(b)) })
	}
	if name, _ := meta["generateName"].(string); name != "" {
		meta["name"] = "GENERATED"
	}
	if spec := object(obj["spec"]); spec != nil && obj["kind"] == "Service" {
		spec["_allocated"] = true
	}
}

// blur hides what the server allocates unless the request asked for it, and
// splits off managedFields.
func blur(obj, sent map[string]any) (rest map[string]any, managed any) {
	meta := object(obj["metadata"])
	managed = meta["managedFields"]
	delete(meta, "managedFields")
	if obj["kind"] != "Service" {
		return obj, managed
	}
	spec, asked := object(obj["spec"]), object(sent["spec"])
	for _, k := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort"} {
		if _, ok := spec[k]; ok && empty(asked[k]) {
			spec[k] = "ALLOCATED"
		}
	}
	wanted := list(asked["ports"])
	for i, p := range list(spec["ports"]) {
		if _, ok := object(p)["nodePort"]; ok && (i >= len(wanted) || empty(object(wanted[i])["nodePort"])) {
			object(p)["nodePort"] = "ALLOCATED"
		}
	}
	return obj, managed
}

var (
	uid    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	random = regexp.MustCompile(`(kube-api-access)-[a-z0-9]{5}`)
	now    = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	age    = regexp.MustCompile(`"(\d+[ydhms])+"`) // in a table, against the clock
)

// same compares two answers to the request but for the uids, times and random
// names that the server made up, i.e. that the request does not contain.
func same(a, b any, sent string) bool {
	x, y := text(a), text(b)
	return x == y || stable(x, sent) == stable(y, sent)
}

func stable(s, sent string) string {
	s = uid.ReplaceAllStringFunc(s, unless(sent, "UID"))
	s = random.ReplaceAllString(s, "$1-RANDOM")
	return now.ReplaceAllStringFunc(s, unless(sent, "TIME"))
}

func unless(sent, blurred string) func(string) string {
	return func(found string) string {
		if strings.Contains(sent, found) {
			return found
		}
		return blurred
	}
}

// text is the value as JSON with sorted keys.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return string(b)
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any            { l, _ := v.([]any); return l }

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case json.Number:
		return v == "0"
	case []any:
		return len(v) == 0
	}
	return false
}
