package main

import "testing"

func TestTheMemoryLimitLeavesRoomAboveWhatIsLive(t *testing.T) {
	for _, c := range []struct {
		name        string
		live        uint64
		least, most int64
	}{
		{"an idle server", 8 << 20, 150 << 20, 150 << 20},
		{"full caches", 200 << 20, 450 << 20, 550 << 20},
		{"a great many sockets", 4 << 30, 8 << 30, 9 << 30},
	} {
		if got := memoryLimit(c.live); got < c.least || got > c.most {
			t.Errorf("%s with %d bytes live may hold %d, want %d to %d", c.name, c.live, got, c.least, c.most)
		}
	}
}
