package queue

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/fault"
)

// zones are the time zones that this process can read, by the data of its machine.
type zones struct {
	read func(name string) (*time.Location, error)

	mu     sync.Mutex
	byName map[string]*time.Location // at most maxZones; there are some 600
}

const maxZones = 1000

// errUnread means that this machine has no data of a zone; another server's may have.
var errUnread = errors.New("no data of this time zone")

// zoneName is what names of the IANA database look like. Data on a disk would also be found by a path with
// dots, without end.
var zoneName = regexp.MustCompile(`^[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}$`)

// load returns the zone of the IANA database with this name. Fault about timeZone, of which errUnread is the
// cause when the name may be good.
func (z *zones) load(name string) (*time.Location, error) {
	if kept := z.kept(name); kept != nil {
		return kept, nil
	}
	if !zoneName.MatchString(name) || ofMachine(name) {
		return nil, noZone(errors.New("no name of the IANA database"))
	}
	zone, err := z.read(name)
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnread, err)
		if !z.present() {
			return nil, fault.New(fault.Invalid, "timeZone", "This server has no time zone data: it knows no time zone but UTC.").With(err)
		}
		return nil, noZone(err)
	}
	z.keep(name, zone)
	return zone, nil
}

func noZone(err error) error {
	return fault.New(fault.Invalid, "timeZone", "The time zone is a name of the IANA database, such as Europe/Berlin or UTC.").With(err)
}

// ofMachine reports whether name depends on the machine: its own zone, and zones that count leap seconds.
func ofMachine(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return slices.Contains([]string{"local", "localtime", "posix", "posixrules", "right"}, strings.ToLower(first))
}

// present reports whether the machine has time zone data at all: Go itself knows UTC by that name alone.
func (z *zones) present() bool {
	_, err := z.read("Etc/UTC")
	return err == nil
}

func (z *zones) kept(name string) *time.Location {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.byName[name]
}

func (z *zones) keep(name string, zone *time.Location) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.byName == nil {
		z.byName = make(map[string]*time.Location)
	}
	if len(z.byName) < maxZones {
		z.byName[name] = zone
	}
}

// leave has the sweeper ask no more for schedules of zones that this machine has no data of: they are other
// servers'.
func (q *Queue) leave(ctx context.Context, due []dueSchedule) {
	for _, s := range due {
		if _, err := q.zones.load(s.TimeZone); !errors.Is(err, errUnread) || slices.Contains(q.left, s.TimeZone) {
			continue
		}
		q.options.Logger.WarnContext(ctx, "schedules of a time zone are left to other servers: this machine has no data of it", "zone", s.TimeZone)
		q.left = append(q.left, s.TimeZone)
		q.ask()
	}
}

// ask writes the statements of the sweeper, who alone calls it once the queue is made.
func (q *Queue) ask() {
	ours := oursOf(q.schedulable(), q.left)
	q.vitals, q.due = vitalsOf(q.lanes, ours), dueSchedules(ours)
}
