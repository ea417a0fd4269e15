package store

import (
	"context"
	"slices"
	"strings"
)

// maxEach is how many keys one statement of [Each] takes.
const maxEach = 100

// Many returns the rows of q for all of list, which stands first in q as (?*): in one statement for every
// [MaxList] values, in none for no values. rest are the parameters behind the list.
func Many[V, T any](ctx context.Context, r Reader, q *Query, scan func(Scan) (T, error), list []V, rest ...any) ([]T, error) {
	var all []T
	for part := range slices.Chunk(list, MaxList) {
		sized, size := q.List(len(part))
		rows, err := All(ctx, r, sized, scan, append(Values(part, size), rest...)...)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// Rows returns the rows that q brings for all of rows, which stand in q as (…)*, see [Query.Rows]: in one
// statement for every [MaxList], in none for none.
func Rows[T any](ctx context.Context, r Reader, q *Query, scan func(Scan) (T, error), rows [][]any) ([]T, error) {
	var all []T
	for part := range slices.Chunk(rows, MaxList) {
		sized, size := q.Rows(len(part))
		found, err := All(ctx, r, sized, scan, RowValues(part, size)...)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// Each returns for each of keys, given once, the rows that q brings when its first parameter is the key and rest are
// the others: in one statement for every 100 keys. q has an order and a limit, and the same text in both
// dialects; order is what the whole is sorted by, in terms of q's columns. A window function over all
// keys would say the same, but reads every row of each key.
func Each[V, T any](ctx context.Context, r Reader, q *Query, order string, scan func(Scan) (T, error), keys []V, rest ...any) ([]T, error) {
	var all []T
	for part := range slices.Chunk(keys, maxEach) {
		whole, args := q, []any(nil)
		if len(part) > 1 {
			whole = union(q.raw, len(part), order)
		}
		for _, key := range part {
			args = append(append(args, key), rest...)
		}
		rows, err := All(ctx, r, whole, scan, args...)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// union returns the statement that runs text n times.
func union(text string, n int, order string) *Query {
	one := "SELECT * FROM (" + text + ") AS page"
	return Passing("SELECT * FROM (" + one + strings.Repeat(" UNION ALL "+one, n-1) + ") AS pages ORDER BY " + order)
}

// Group returns rows by the key that keyOf tells, in their order. Each of keys has an entry, if an empty one.
func Group[K comparable, T any](keys []K, rows []T, keyOf func(T) K) map[K][]T {
	groups := make(map[K][]T, len(keys))
	for _, key := range keys {
		groups[key] = []T{}
	}
	for _, row := range rows {
		key := keyOf(row)
		groups[key] = append(groups[key], row)
	}
	return groups
}
