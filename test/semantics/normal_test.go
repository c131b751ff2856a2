package semantics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// places replaces what differs from run to run by the order in which it came.
type places map[string]string

func (p places) of(kind, value string) string {
	key := kind + value
	if p[key] == "" {
		n := 1
		for k := range maps.Keys(p) {
			if strings.HasPrefix(k, kind) {
				n++
			}
		}
		p[key] = fmt.Sprintf("%s%d", kind, n)
	}
	return p[key]
}

var (
	tooOld   = regexp.MustCompile(`too old resource version: (\d+) \(\d+\)`)
	tooLarge = regexp.MustCompile(`(Too large resource version: \d+), current: \d+`)
	uid      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	inText   = regexp.MustCompile(`(resourceVersion\W{1,8}|in record \()\d+`)
	suffix   = regexp.MustCompile(`(kube-api-access-|^c-|\btwo-)[a-z0-9]{5}`)
	age      = regexp.MustCompile(`(?m)(^|- )(\d+[sm]|\d{3}d|\d+y(\d+d)?)$`)
	ago      = regexp.MustCompile(`\((\d{3}d|\d+y(\d+d)?) ago\)`) // the steps have dates
	address  = regexp.MustCompile(`127\.0\.0\.1:\d{4,}|192\.0\.2\.10:6443`)
	hash     = regexp.MustCompile(`X509SHA256=[0-9a-f]{64}`)
	jwt      = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
	stamp    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
)

// normal is a JSON value without what differs from run to run.
func (p places) normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		kind, _ := v["kind"].(string)
		isList := strings.HasSuffix(kind, "List")
		_, isTable := v["rows"]
		for key := range v { // what owns a field may be told by a uid
			if plain := uid.ReplaceAllString(key, "uid"); plain != key {
				v[plain] = v[key]
				delete(v, key)
			}
		}
		// In order: what comes first is numbered first.
		for _, key := range slices.Sorted(maps.Keys(v)) {
			value := v[key]
			switch text, _ := value.(string); {
			case key == "metadata" && (isList || isTable):
				v[key] = p.listMeta(value)
			case key == "resourceVersion" && text != "":
				v[key] = p.of("v", text)
			case key == "managedFields":
				v[key] = p.managers(value)
			case key == "resourceRules" || key == "nonResourceRules":
				v[key] = p.unordered(value)
			default:
				v[key] = p.normal(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = p.normal(v[i])
		}
	case string:
		return p.text(v)
	}
	return v
}

// listMeta forgets a list's version, which any write moves, and its token.
func (places) listMeta(v any) any {
	m, _ := v.(map[string]any)
	for _, name := range []string{"resourceVersion", "continue"} {
		if text, ok := m[name].(string); ok && text != "" {
			m[name] = "some"
		}
	}
	return m
}

// managers are in no order when they came within a second.
func (p places) managers(v any) any { return p.unordered(v) }

func (p places) unordered(v any) any {
	l, _ := v.([]any)
	for i := range l {
		l[i] = p.normal(l[i])
	}
	slices.SortStableFunc(l, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return l
}

func (p places) text(s string) string {
	s = age.ReplaceAllString(s, "${1}age")
	s = ago.ReplaceAllString(s, "(age ago)")
	s = address.ReplaceAllString(s, "address")
	s = hash.ReplaceAllString(s, "hash")
	s = jwt.ReplaceAllString(s, "token")
	s = uid.ReplaceAllString(s, "uid")
	s = tooOld.ReplaceAllString(s, "too old resource version: $1 (now)")
	s = tooLarge.ReplaceAllString(s, "$1, current: now")
	s = suffix.ReplaceAllString(s, "${1}some")
	s = inText.ReplaceAllString(s, "${1}some")
	return stamp.ReplaceAllString(s, "time")
}

// body is what came back, normal if it is JSON, in lines if it is text.
func (p places) body(data []byte) any {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err == nil && !d.More() {
		return p.normal(v)
	}
	if bytes.HasPrefix(data, []byte("k8s\x00")) {
		return "protobuf"
	}
	return p.text(string(data))
}
