package cache

import (
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/klauspost/compress/s2"
)

// Codec writes values for Redis and reads them back. It is safe for concurrent use.
type Codec[V any] interface {
	Encode(V) ([]byte, error)
	Decode([]byte) (V, error)
}

// An envelope is what stands in Redis:
//
//	form (1 byte) | created (8) | soft expiry (8) | payload
//
// Times are nanoseconds since 1970, big-endian. A form that is not known is a miss.
const (
	formTombstone = 0    // invalidated a moment ago; nothing follows
	formPlain     = 1    // payload is what the codec wrote
	formS2        = 2    // the same, compressed with S2
	formAbsent    = 3    // no payload
	formPinned    = 0x80 // added to one of these: no load replaces it

	headerBytes = 1 + 8 + 8
	// compressAbove is the size of a payload from which compression pays.
	compressAbove = 4 << 10
	// maxPayload bounds what is stored in, and unpacked from, Redis.
	maxPayload = 16 << 20
)

var (
	errEnvelope = errors.New("not an envelope")
	errTooLarge = errors.New("value is too large for redis")
)

// seal writes an entry.
func seal[V any](codec Codec[V], e *entry) ([]byte, error) {
	if e.absent {
		return header(formAbsent, e.created, e.soft, 0), nil
	}
	payload, err := codec.Encode(valueOf[V](e))
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if len(payload) > maxPayload {
		return nil, errTooLarge
	}
	if len(payload) <= compressAbove {
		return append(header(formPlain, e.created, e.soft, len(payload)), payload...), nil
	}
	return append(header(formS2, e.created, e.soft, len(payload)), s2.Encode(nil, payload)...), nil
}

func header(form byte, created, soft int64, room int) []byte {
	h := append(make([]byte, 0, headerBytes+room), form)
	h = binary.BigEndian.AppendUint64(h, uint64(created))
	return binary.BigEndian.AppendUint64(h, uint64(soft))
}

// unseal reads an entry, without its place in memory. A tombstone is an error like any other.
func unseal[V any](codec Codec[V], envelope []byte) (*entry, error) {
	if len(envelope) < headerBytes {
		return nil, errEnvelope
	}
	e := &entry{
		created: int64(binary.BigEndian.Uint64(envelope[1:])),
		soft:    int64(binary.BigEndian.Uint64(envelope[9:])),
	}
	if e.created < 0 || e.soft < e.created {
		return nil, errEnvelope
	}
	payload := envelope[headerBytes:]
	switch envelope[0] &^ formPinned {
	case formAbsent:
		e.absent = true
		return e, nil
	case formPlain:
	case formS2:
		length, err := s2.DecodedLen(payload)
		if err != nil || length > maxPayload {
			return nil, errEnvelope
		}
		if payload, err = s2.Decode(nil, payload); err != nil {
			return nil, errEnvelope
		}
	default:
		return nil, errEnvelope
	}
	var err error
	if e.value, err = codec.Decode(payload); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return e, nil
}

// jsonCodec is the default codec.
type jsonCodec[V any] struct{}

// Encode implements Codec.
func (jsonCodec[V]) Encode(value V) ([]byte, error) { return json.Marshal(value) }

// Decode implements Codec.
func (jsonCodec[V]) Decode(data []byte) (V, error) {
	var value V
	err := json.Unmarshal(data, &value)
	return value, err
}

// encodable refuses a type of which JSON would lose a part in silence.
func encodable[V any]() error {
	return checkType(reflect.TypeFor[V](), make(map[reflect.Type]bool))
}

func checkType(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] || writesItself(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return checkType(t.Elem(), seen)
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return fmt.Errorf("JSON does not bring back a %v: give a Codec", t)
	case reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			if !field.IsExported() && !field.Anonymous || field.Tag.Get("json") == "-" {
				return fmt.Errorf("JSON leaves out %v.%s: give a Codec", t, field.Name)
			}
			if err := checkType(field.Type, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// writesItself is a type with its own JSON or text form, such as time.Time.
func writesItself(t reflect.Type) bool {
	for _, marshaler := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
			return true
		}
	}
	return false
}
