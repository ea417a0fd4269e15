package transport

import (
	"strconv"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
)

// redigoReply turns what go-redis gives for a command into what redigo would.
//
//	go-redis                       redigo
//	string, status ("OK")          string
//	string, bulk                   []byte
//	int64                          int64
//	bool (RESP 3)                  int64, 0 or 1
//	float64 (RESP 3)               []byte
//	[]any, also a set              []any
//	map[any]any (RESP 3)           []any of keys and values in turn
//	nil                            nil
//	an error among others          redigo.Error
func redigoReply(command string, v any) any {
	if s, isText := v.(string); isText && isStatus(command) {
		return s
	}
	return redigoValue(v)
}

// isStatus tells the commands apart whose text reply is a status: go-redis does not.
func isStatus(command string) bool { return command == "HMSET" || command == "SET" }

func redigoValue(v any) any {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case float64:
		return strconv.AppendFloat(nil, v, 'g', -1, 64)
	case []any:
		all := make([]any, len(v))
		for i, one := range v {
			all[i] = redigoValue(one)
		}
		return all
	case map[any]any:
		all := make([]any, 0, 2*len(v))
		for key, value := range v {
			all = append(all, redigoValue(key), redigoValue(value))
		}
		return all
	case redis.Error:
		return redigo.Error(v.Error())
	}
	return v
}
