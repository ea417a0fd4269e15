package services

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAProgramTidiesUpInReverseAndTellsWhyItWasGivenUp(t *testing.T) {
	var tidied []int
	var folder string
	err := Program(t.Context(), func(h Host) {
		folder = h.TempDir()
		for i := range 3 {
			h.Cleanup(func() {
				if h.Context().Err() == nil {
					t.Error("the context goes on while the program is tidied up")
				}
				tidied = append(tidied, i)
			})
		}
		h.Fatalf("given up at %d", 7)
		t.Error("the program goes on after Fatalf")
	})
	if err == nil || err.Error() != "given up at 7" {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(tidied, []int{2, 1, 0}) {
		t.Errorf("tidied up in the order %v", tidied)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
	if err := Program(context.Background(), func(Host) {}); err != nil {
		t.Errorf("a program that ends well gives %v", err)
	}
}

func TestADurableRedisKeepsItsDataUntilItForgets(t *testing.T) {
	s := StartDurableRedis(t)
	say := func(command string) string {
		t.Helper()
		conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 100)
		n, err := conn.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(answer[:n]))
	}
	if got := say("SET a 1"); got != "+OK" {
		t.Fatalf("SET was answered %q", got)
	}
	s.Kill()
	s.Restart(t)
	if got := say("EXISTS a"); got != ":1" {
		t.Errorf("after kill -9, EXISTS is answered %q", got)
	}
	s.Kill()
	if err := s.Forget(); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	if got := say("EXISTS a"); got != ":0" {
		t.Errorf("after it has forgotten, EXISTS is answered %q", got)
	}
}
