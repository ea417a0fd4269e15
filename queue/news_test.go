package queue

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// reading is a read of rows that has begun.
type reading struct {
	mine []ID
	rows []*Job // as they were when it began
}

// TestRowsAreReadOnceAndNeverTooOld lets jobs change and vanish, readers claim rows, and reads end late,
// beside a model of the table.
func TestRowsAreReadOnceAndNeverTooOld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			n     news
			table = map[ID]int64{}
			under []reading
		)
		someID := rapid.Custom(func(t *rapid.T) ID { return ID(strconv.Itoa(rapid.IntRange(0, maxNewsRows+8).Draw(t, "id"))) })
		t.Repeat(map[string]func(*rapid.T){
			"a job changes":  func(t *rapid.T) { table[someID.Draw(t, "job")]++ },
			"a job vanishes": func(t *rapid.T) { delete(table, someID.Draw(t, "job")) },
			"a reader claims": func(t *rapid.T) {
				wanted, found := map[ID]int64{}, map[ID]*Job{}
				for _, id := range rapid.SliceOfNDistinct(someID, 1, 5, rapid.ID[ID]).Draw(t, "jobs") {
					wanted[id] = table[id]
				}
				asked := len(wanted)
				mine, others := n.claim(wanted, found)
				if len(wanted)+len(found) != asked {
					t.Fatalf("of %d wanted, %d are found and %d are left", asked, len(found), len(wanted))
				}
				for id, j := range found {
					if j.Sequence < table[id] {
						t.Fatalf("job %s is found at %d, wanted at %d", id, j.Sequence, table[id])
					}
				}
				if waits := others != nil; waits != (len(mine) < len(wanted)) {
					t.Fatalf("%d of %d are the reader's, and it waits for others: %v", len(mine), len(wanted), waits)
				}
				if len(mine) == 0 {
					return
				}
				r := reading{mine: mine}
				for _, id := range mine {
					if slices.ContainsFunc(under, func(o reading) bool { return slices.Contains(o.mine, id) }) {
						t.Fatalf("job %s is read twice at once", id)
					}
					if sequence, exists := table[id]; exists {
						r.rows = append(r.rows, &Job{ID: id, Sequence: sequence})
					}
				}
				under = append(under, r)
			},
			"a read ends": func(t *rapid.T) {
				if len(under) == 0 {
					t.Skip("nobody reads")
				}
				at := rapid.IntRange(0, len(under)-1).Draw(t, "read")
				read := n.rows[under[at].mine[0]].read
				n.settle(under[at].mine, under[at].rows)
				under = slices.Delete(under, at, at+1)
				select {
				case <-read:
				default:
					t.Fatal("those who wait are not told")
				}
			},
			"a watcher brings a row": func(t *rapid.T) {
				j := &Job{ID: someID.Draw(t, "job")}
				j.Sequence = table[j.ID]
				if got := n.share(j); got.ID != j.ID || got.Sequence != j.Sequence {
					t.Fatalf("for job %s at %d, got %s at %d", j.ID, j.Sequence, got.ID, got.Sequence)
				}
			},
			"": func(t *rapid.T) {
				kept := 0
				for _, r := range n.rows {
					if r.job != nil {
						kept++
					}
				}
				if kept > maxNewsRows {
					t.Fatalf("%d rows are kept", kept)
				}
			},
		})
	})
}

func TestAMessageIsDecodedOnce(t *testing.T) {
	var n news
	one, err := json.Marshal([]Event{{JobID: "job_1", Sequence: 7}, {JobID: "job_2", Sequence: 1}})
	if err != nil {
		t.Fatal(err)
	}
	first := n.decode(one)
	if len(first) != 2 || first[0].JobID != "job_1" || first[0].Sequence != 7 || first[1].JobID != "job_2" {
		t.Fatalf("got %+v", first)
	}
	if n.decode(one)[0] != first[0] {
		t.Error("the second listener decodes anew")
	}
	if again := n.decode(slices.Clone(one)); len(again) != 2 || again[0] == first[0] || again[0].Sequence != 7 {
		t.Errorf("other bytes give %+v", again)
	}
	for _, bad := range []string{"", "no event", "[null]", "{}"} {
		if got := n.decode([]byte(bad)); len(got) > 0 {
			t.Errorf("%q gives %+v", bad, got)
		}
	}
}
