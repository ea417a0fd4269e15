package services

import "testing"

// Python returns the path of Python 3, which the examples are run with.
func Python(t testing.TB) string {
	t.Helper()
	return need(t, "python3")
}
