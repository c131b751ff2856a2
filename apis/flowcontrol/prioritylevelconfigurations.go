package flowcontrol

import (
	"context"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

const maxQueues = 10 * 1000 * 1000

func priorityLevelConfigurations() resource.Definition[*flowcontrolv1.PriorityLevelConfiguration] {
	type P = *flowcontrolv1.PriorityLevelConfiguration
	queue := func(value func(*flowcontrolv1.QueuingConfiguration) int32) func(P) any {
		return func(p P) any {
			if p.Spec.Limited == nil || p.Spec.Limited.LimitResponse.Queuing == nil {
				return "<none>"
			}
			return value(p.Spec.Limited.LimitResponse.Queuing)
		}
	}
	doc := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return resource.Definition[P]{
		Resource:      group.WithResource("prioritylevelconfigurations"),
		Kind:          "PriorityLevelConfiguration",
		Singular:      "prioritylevelconfiguration",
		ClusterScoped: true,
		Object:        &flowcontrolv1.PriorityLevelConfiguration{},
		List:          &flowcontrolv1.PriorityLevelConfigurationList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default:       defaultLevel,
		Validate:      validateLevel,
		Spec:          func(p P) any { return &p.Spec },
		Status:        func(p P) any { return &p.Status },
		PrepareStatus: func(_ context.Context, obj, old P) {
			managed := obj.ManagedFields
			obj.ObjectMeta = old.ObjectMeta
			obj.ManagedFields = managed
		},
		ValidateStatus: func(_ context.Context, obj, _ P) (errs field.ErrorList) {
			seen := map[flowcontrolv1.PriorityLevelConfigurationConditionType]bool{}
			for i, c := range obj.Status.Conditions {
				errs = append(errs, validateConditionType(string(c.Type), seen[c.Type], i)...)
				seen[c.Type] = true
			}
			return errs
		},
		StatusResetFields: []string{"spec", "metadata"},
		Columns: []resource.Column[P]{
			{Name: "Type", Type: "string", Help: flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"], Value: func(p P) any { return string(p.Spec.Type) }},
			{Name: "NominalConcurrencyShares", Type: "string", Help: flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"], Value: func(p P) any { return sharesOf(p) }},
			{Name: "Queues", Type: "string", Help: doc["queues"], Value: queue(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues })},
			{Name: "HandSize", Type: "string", Help: doc["handSize"], Value: queue(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize })},
			{Name: "QueueLengthLimit", Type: "string", Help: doc["queueLengthLimit"], Value: queue(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit })},
		},
	}
}

func sharesOf(p *flowcontrolv1.PriorityLevelConfiguration) any {
	if l := p.Spec.Limited; l != nil && l.NominalConcurrencyShares != nil {
		return *l.NominalConcurrencyShares
	}
	return "<none>"
}

func defaultLevel(p *flowcontrolv1.PriorityLevelConfiguration) {
	if e := p.Spec.Exempt; e != nil {
		setTo(&e.NominalConcurrencyShares, 0)
		setTo(&e.LendablePercent, 0)
	}
	l := p.Spec.Limited
	if l == nil {
		return
	}
	setTo(&l.NominalConcurrencyShares, 30)
	setTo(&l.LendablePercent, 0)
	if q := l.LimitResponse.Queuing; q != nil {
		for p, value := range map[*int32]int32{&q.HandSize: 8, &q.Queues: 64, &q.QueueLengthLimit: 50} {
			if *p == 0 {
				*p = value
			}
		}
	}
}

func validateLevel(_ context.Context, obj, _ *flowcontrolv1.PriorityLevelConfiguration) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	if exempt := obj.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt; s.Type != "" && exempt != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		errs = append(errs, field.Invalid(at.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	errs = append(errs, validateFixed(obj, at)...)
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if s.Exempt != nil {
			errs = append(errs, validateShares(s.Exempt.NominalConcurrencyShares, s.Exempt.LendablePercent, at.Child("exempt"))...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Limited != nil { // that it is there is declared by the type
			errs = append(errs, validateLimited(s.Limited, at.Child("limited"))...)
		}
	case "":
	default:
		errs = append(errs, field.NotSupported(at.Child("type"), s.Type, []string{"Exempt", "Limited"}))
	}
	return errs
}

// validateFixed keeps the levels the server relies on as they are.
func validateFixed(obj *flowcontrolv1.PriorityLevelConfiguration, at *field.Path) field.ErrorList {
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		if fixed.Name != obj.Name {
			continue
		}
		have, want, except := obj.Spec.DeepCopy(), fixed.Spec.DeepCopy(), ""
		if obj.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			have.Exempt, want.Exempt, except = nil, nil, " except the `spec.exempt` field"
		}
		if !equality.Semantic.DeepEqual(have, want) {
			return field.ErrorList{field.Invalid(at, validate.GoNames{Value: obj.Spec}, fmt.Sprintf("spec of '%s'%s must equal the fixed value", obj.Name, except))}
		}
	}
	return nil
}

func validateShares(nominal, lendable *int32, at *field.Path) (errs field.ErrorList) {
	if nominal != nil && *nominal < 0 {
		errs = append(errs, field.Invalid(at.Child("nominalConcurrencyShares"), *nominal, "must be a non-negative integer"))
	}
	if lendable != nil && (*lendable < 0 || *lendable > 100) {
		errs = append(errs, field.Invalid(at.Child("lendablePercent"), *lendable, "must be between 0 and 100, inclusive"))
	}
	return errs
}

func validateLimited(l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateShares(l.NominalConcurrencyShares, l.LendablePercent, at)...)
	if b := l.BorrowingLimitPercent; b != nil && *b < 0 {
		errs = append(errs, field.Invalid(at.Child("borrowingLimitPercent"), *b, "if specified, must be a non-negative integer"))
	}
	response := at.Child("limitResponse")
	switch l.LimitResponse.Type {
	case flowcontrolv1.LimitResponseTypeQueue:
		if q := l.LimitResponse.Queuing; q != nil {
			errs = append(errs, validateQueuing(q, response.Child("queuing"))...)
		}
	case flowcontrolv1.LimitResponseTypeReject, "":
	default:
		errs = append(errs, field.NotSupported(response.Child("type"), l.LimitResponse.Type, []string{"Queue", "Reject"}))
	}
	return errs
}

func validateQueuing(q *flowcontrolv1.QueuingConfiguration, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, mustBePositive(q.QueueLengthLimit, at.Child("queueLengthLimit"))...)
	errs = append(errs, mustBePositive(q.Queues, at.Child("queues"))...)
	if q.Queues > maxQueues {
		errs = append(errs, field.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues)))
	}
	hand := at.Child("handSize")
	switch bits := shufflesharding.RequiredEntropyBits; {
	case q.HandSize <= 0:
		errs = append(errs, mustBePositive(q.HandSize, hand)...)
	case q.HandSize > q.Queues:
		errs = append(errs, field.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	case bits(int(q.Queues), int(q.HandSize)) > shufflesharding.MaxHashBits:
		errs = append(errs, field.Invalid(hand, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, shufflesharding.MaxHashBits)))
	}
	return errs
}
