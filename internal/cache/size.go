package cache

import "reflect"

const (
	// entryOverhead is about what otter and entry add to a pair, in bytes.
	entryOverhead = 200
	// maxVisits bounds the walk through one value; what lies beyond counts as nothing.
	maxVisits = 10_000
)

// estimate is the default of Options.Weigh: the bytes that key and value reach, shared ones once.
func estimate[K comparable, V any](key K, value V) int {
	w := walk{seen: make(map[uintptr]bool), left: maxVisits}
	return entryOverhead + w.size(reflect.ValueOf(&key).Elem()) + w.size(reflect.ValueOf(&value).Elem())
}

// walk adds up sizes.
type walk struct {
	seen map[uintptr]bool // pointers that were counted
	left int
}

// size is what v itself takes and what it points to.
func (w *walk) size(v reflect.Value) int {
	return int(v.Type().Size()) + w.beyond(v)
}

// beyond is what v points to.
func (w *walk) beyond(v reflect.Value) int {
	if w.left--; w.left < 0 {
		return 0
	}
	total := 0
	switch v.Kind() {
	case reflect.String:
		total = v.Len()
	case reflect.Slice:
		if !w.first(v) {
			return 0
		}
		total = v.Cap() * int(v.Type().Elem().Size())
		total += w.elements(v)
	case reflect.Array:
		total = w.elements(v)
	case reflect.Pointer:
		if w.first(v) {
			total = w.size(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() {
			total = w.size(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			total += w.beyond(v.Field(i))
		}
	case reflect.Map:
		if w.first(v) {
			for each := v.MapRange(); each.Next() && w.left > 0; {
				total += w.size(each.Key()) + w.size(each.Value())
			}
		}
	}
	return total
}

// elements is what the elements of a slice or array point to.
func (w *walk) elements(v reflect.Value) int {
	if isFlat(v.Type().Elem().Kind()) {
		return 0
	}
	total := 0
	for i := 0; i < v.Len() && w.left > 0; i++ {
		total += w.beyond(v.Index(i))
	}
	return total
}

// first reports whether v points somewhere for the first time.
func (w *walk) first(v reflect.Value) bool {
	at := v.Pointer()
	if at == 0 || w.seen[at] {
		return false
	}
	w.seen[at] = true
	return true
}

// isFlat is a kind that points nowhere.
func isFlat(k reflect.Kind) bool { return k >= reflect.Bool && k <= reflect.Complex128 }
