package jobs

import (
	"bytes"
	"encoding/json"
	"errors"

	"gatehouse/internal/fault"
)

// readArguments reads what a schedule or a step of a workflow starts a kind with into a struct of the mutation's names. A name
// that is not among them is refused: it would be a mistake that shows each night.
func readArguments[T any](input json.RawMessage) (T, error) {
	var read T
	decoder := json.NewDecoder(bytes.NewReader(input))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&read)
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		return read, fault.New(fault.Invalid, typed.Field, "The value is of another type than the mutation's input has.")
	}
	if err != nil {
		return read, fault.New(fault.Invalid, "", "The kind's mutation has no such input, or it is given by the mutation alone: a text, options.").With(err)
	}
	return read, nil
}

// madeFile is the file of a step, as [queue.Kind.Arguments] finds it.
type madeFile struct {
	Name      string `json:"name"`
	MediaType string `json:"mediaType"`
	Bytes     int64  `json:"bytes"`
}
