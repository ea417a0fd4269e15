package queue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"gatehouse/internal/fault"
)

// reference is a place in a step's arguments that stands for something that another step brings. It is
// written as an object: {"$from": step} is the step's result, {"$from": step, "pointer": p} the part of it that
// the JSON Pointer p (RFC 6901) names; {"$artifact": step, "name": n} is the file of that name that the step
// has made, {"$artifact": step} its only one.
type reference struct {
	step    string
	pointer string   // of a result
	file    bool     // an artifact
	name    string   // of the artifact; "": the only one
	path    []string // where it stands in the arguments
}

// The keys by which a reference is known.
const (
	fromKey     = "$from"
	artifactKey = "$artifact"
)

// maxDepth bounds how deep arguments may be nested.
const maxDepth = 32

// referencesIn lists the references in arguments. Fault: INVALID, for arguments that are no JSON object too.
func referencesIn(arguments json.RawMessage) ([]reference, error) {
	var all []reference
	_, err := replaced(arguments, func(r reference) (any, error) {
		all = append(all, r)
		return nil, nil
	})
	return all, err
}

// replaced returns arguments with what replace gives in place of each reference.
func replaced(arguments json.RawMessage, replace func(reference) (any, error)) (json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(arguments))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil || object == nil {
		return nil, fault.New(fault.Invalid, "", "The arguments are a JSON object.").With(err)
	}
	walk := walker{replace}
	for key, value := range object {
		var err error
		if object[key], err = walk.value(value, []string{key}); err != nil {
			return nil, err
		}
	}
	return json.Marshal(object)
}

type walker struct {
	replace func(reference) (any, error)
}

func (w walker) value(value any, path []string) (any, error) {
	if len(path) > maxDepth {
		return nil, fault.New(fault.Invalid, path[0], "The arguments are nested deeper than 32 levels.")
	}
	var err error
	switch v := value.(type) {
	case map[string]any:
		if r, is, err := readReference(v, path); is || err != nil {
			if err != nil {
				return nil, err
			}
			return w.replace(r)
		}
		for key, inner := range v {
			if v[key], err = w.value(inner, append(path[:len(path):len(path)], key)); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, inner := range v {
			if v[i], err = w.value(inner, append(path[:len(path):len(path)], strconv.Itoa(i))); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// readReference reports whether object is a reference. One that is written wrongly is a fault.
func readReference(object map[string]any, path []string) (r reference, is bool, err error) {
	r.path = path
	rest := map[string]*string{}
	switch {
	case object[fromKey] != nil:
		rest[fromKey], rest["pointer"] = &r.step, &r.pointer
	case object[artifactKey] != nil:
		r.file = true
		rest[artifactKey], rest["name"] = &r.step, &r.name
	default:
		return r, false, nil
	}
	for key, value := range object {
		into, known := rest[key]
		text, isText := value.(string)
		if !known || !isText {
			return r, true, fault.New(fault.Invalid, path[0], `A reference is {"$from": step, "pointer": p} or {"$artifact": step, "name": n}.`)
		}
		*into = text
	}
	if r.pointer != "" && !strings.HasPrefix(r.pointer, "/") {
		return r, true, fault.New(fault.Invalid, path[0], "A pointer begins with /, as in /columns/0/name.")
	}
	return r, true, nil
}

// pointed returns the part of result that pointer names, as RFC 6901 §4 says.
func pointed(result json.RawMessage, pointer string) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(result))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	if pointer == "" {
		return value, nil
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		inner, found := member(value, token)
		if !found {
			return nil, fault.New(fault.Invalid, "", "The result has nothing at "+pointer+".")
		}
		value = inner
	}
	return value, nil
}

func member(value any, token string) (inner any, found bool) {
	switch v := value.(type) {
	case map[string]any:
		inner, found = v[token]
	case []any:
		n, err := strconv.Atoi(token)
		if err == nil && n >= 0 && n < len(v) && strconv.Itoa(n) == token {
			return v[n], true
		}
	}
	return inner, found
}

// checkReferences returns a fault unless the references stand where the kind can take them: an artifact in
// place of its file, a result anywhere else.
func (d Definition) checkReferences(references []reference) error {
	for _, r := range references {
		isFile := d.File != "" && len(r.path) == 1 && r.path[0] == d.File
		switch {
		case r.file && !isFile:
			return fault.New(fault.Invalid, r.path[0], "The kind takes no file here.")
		case isFile && !r.file:
			return fault.New(fault.Invalid, r.path[0], `A file is {"$artifact": step, "name": n}.`)
		}
	}
	return nil
}
