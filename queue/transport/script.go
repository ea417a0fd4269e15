package transport

import (
	"strings"

	redigo "github.com/gomodule/redigo/redis"
)

// keysPerLane is how many keys gocraft's fetch script has for each job type. The first is the list,
// the second the list of jobs in progress, whose name ends in the id of the worker pool.
const keysPerLane = 6

// script answers EVALSHA and EVAL. A script of gocraft is known by its keys, which say what it does
// and stay the same whatever its text; we never answer NOSCRIPT, so its text does not travel.
//
//	fetch    jobs:A, jobs:A:POOL:inprogress, … and the argument POOL   waits for a message
//	requeue  retry or scheduled, dead, jobs:A, …                       nothing was due
//	reap     jobs:A:POOL:inprogress, jobs:A, …                         nothing was in progress
//	unlock   jobs:A:lock, jobs:A:lock_info, …                          nothing was locked
func (c *conn) script(args []any) (any, error) {
	keys, argument, ok := scriptArgs(args)
	if !ok {
		return nil, redigo.Error("ERR transport: malformed script call")
	}
	first := strings.TrimPrefix(text(keys, 0), c.namespace+":")
	switch {
	case len(keys) == 0: // a pool without jobs, or the reaper of one
		return nil, nil
	case isFetch(keys, argument):
		return c.fetch(keys)
	case first == "retry", first == "scheduled",
		strings.HasSuffix(first, ":inprogress"), strings.HasSuffix(first, ":lock"):
		return nil, nil
	}
	return nil, redigo.Error("ERR transport: unknown script with first key " + text(keys, 0))
}

// scriptArgs splits the arguments of a script call: hash or text, number of keys, keys, arguments.
// argument is the first of these.
func scriptArgs(args []any) (keys []any, argument string, ok bool) {
	if len(args) < 2 {
		return nil, "", false
	}
	n, isInt := args[1].(int)
	if !isInt || n < 0 || n > len(args)-2 {
		return nil, "", false
	}
	return args[2 : 2+n], text(args, 2+n), true
}

func isFetch(keys []any, pool string) bool {
	return len(keys)%keysPerLane == 0 && text(keys, 1) == text(keys, 0)+":"+pool+":inprogress"
}

// fetch waits for a message of one of the lanes, in the order in which gocraft's sampler has put
// them this time.
func (c *conn) fetch(keys []any) (any, error) {
	lanes := make([]string, 0, len(keys)/keysPerLane)
	for i := 0; i < len(keys); i += keysPerLane {
		lanes = append(lanes, text(keys, i))
	}
	if len(lanes) > maxLanes {
		return nil, redigo.Error("ERR transport: a worker pool serves at most 250 lanes")
	}
	e, ok := c.store.fetch(lanes)
	if !ok {
		return nil, nil
	}
	from := []byte(e.lane)
	return []any{e.json, from, from}, nil // the third is the list gocraft's LREM names; see do
}

// text returns the i-th argument when it is a string, as all of gocraft's keys are, else "".
func text(args []any, i int) string {
	if i >= len(args) {
		return ""
	}
	s, _ := args[i].(string)
	return s
}
