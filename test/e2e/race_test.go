//go:build race

package e2e

// raceEnabled tells whether the tests, and so the program, have the race detector.
const raceEnabled = true
