package golden

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
)

// The five figures in which a case can agree. An accepted request is compared in
// code, object and fields; a rejected one in code, causes and message.
const (
	code    = iota // the status code
	causes         // and the reason, and reason and field of every cause
	message        // and the message
	answer         // the object but for managedFields
	fields         // and managedFields
	figures
)

var titles = [figures]string{"code", "causes", "message", "object", "fields"}

// A verdict says in which figures a case was compared, and in which it agreed.
type verdict struct{ compared, agreed [figures]bool }

func (v *verdict) set(figure int, ok bool) { v.compared[figure], v.agreed[figure] = true, ok }

func (v *verdict) ok() bool { return v.compared == v.agreed }

// judge compares an answer with the recorded one. It returns the wanted and the
// given answer in comparable form.
func judge(e *example, sent map[string]any, status int, body map[string]any) (v verdict, want, got any) {
	v.set(code, status == e.Code)
	request := text(sent)
	switch {
	case e.Table != nil:
		given := tableOf(body)
		v.set(answer, age.ReplaceAllString(stable(text(given), request), `"AGE"`) == age.ReplaceAllString(stable(text(e.Table), request), `"AGE"`))
		return v, e.Table, given
	case e.Code == http.StatusOK || e.Code == http.StatusCreated:
		normalise(body)
		normalise(e.Object)
		want, got = clone(e.Object), clone(body)
		a, managedA := blur(e.Object, sent)
		b, managedB := blur(body, sent)
		v.set(answer, v.agreed[code] && same(a, b, request))
		v.set(fields, v.agreed[answer] && same(managedA, managedB, request))
		return v, want, got
	}
	given := rejectionOf(body)
	wanted := rejection{Code: e.Code, Reason: e.Reason, Causes: e.Causes}
	v.set(causes, v.agreed[code] && given.Reason == e.Reason && slices.Equal(given.fields(), wanted.fields()))
	if e.Message != nil {
		wanted.Message = *e.Message
		v.set(message, v.agreed[causes] && stable(given.Message, request) == stable(wanted.Message, request))
	}
	given.Code = status
	return v, wanted, given
}

type rejection struct {
	Code            int
	Reason, Message string
	Causes          []cause
}

func rejectionOf(body map[string]any) rejection {
	var r struct {
		Reason, Message string
		Details         struct{ Causes []cause }
	}
	// what does not fit stays empty and disagrees
	_ = json.Unmarshal([]byte(text(body)), &r)
	return rejection{Reason: r.Reason, Message: r.Message, Causes: r.Details.Causes}
}

// fields are the reasons and fields of the causes, in a fixed order.
func (r rejection) fields() []cause {
	out := make([]cause, len(r.Causes))
	for i, c := range r.Causes {
		out[i] = cause{Reason: c.Reason, Field: c.Field}
	}
	slices.SortFunc(out, func(a, b cause) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Field, b.Field))
	})
	return out
}

func tableOf(body map[string]any) *table {
	t := &table{Columns: body["columnDefinitions"], Rows: []any{}}
	for _, row := range list(body["rows"]) {
		t.Rows = append(t.Rows, object(row)["cells"])
	}
	return t
}
