package queue

import (
	"encoding/json"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/viewer"
)

// ID names a job, "job_…".
type ID string

// State is where a job stands.
type State string

// The states. SUCCEEDED, FAILED and CANCELLED are final.
const (
	Scheduled State = "SCHEDULED"
	Queued    State = "QUEUED"
	Running   State = "RUNNING"
	Retrying  State = "RETRYING"
	Succeeded State = "SUCCEEDED"
	Failed    State = "FAILED"
	Cancelled State = "CANCELLED"
)

// Final reports whether a job in s has ended.
func (s State) Final() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Priority is the urgency of a job. It is stored as a number, so that it can be sorted by.
type Priority int

// The priorities.
const (
	Low Priority = iota + 1
	Normal
	High
	Critical
)

// Job is a row of the truth: what a job is and how it stands.
type Job struct {
	ID            ID
	Owner         viewer.UserID
	Kind          string
	Queue         string
	Priority      Priority
	State         State
	Attempt       int // how often a worker has begun
	MaxAttempts   int
	Claim         int64 // counts every taking of the job; the fence of its writers
	Process       string
	Input         json.RawMessage
	Sequence      int64 // number of the newest event
	Progress      Progress
	Result        json.RawMessage // nil until the job has succeeded; see [Queue.Result] for large ones
	Error         *Failure        // of the last attempt that failed
	CancelAskedAt time.Time
	CreatedAt     time.Time
	RunAt         time.Time
	StartedAt     time.Time
	FinishedAt    time.Time
	ExpiresAt     time.Time
	Parent        ID // the workflow of which it is a step; "": none

	outcome string // key of a large result, where it was read with the row
}

// NodeID returns the id under which a client can fetch j again.
func (j *Job) NodeID() string { return string(j.ID) }

// Progress is how far a job has come, in the unit of its kind. Total 0 means that nobody knows.
type Progress struct {
	Done, Total int64
	Stage       string
}

// Fraction returns Done/Total between 0 and 1, and whether the total is known.
func (p Progress) Fraction() (float64, bool) {
	if p.Total <= 0 {
		return 0, false
	}
	return min(1, max(0, float64(p.Done)/float64(p.Total))), true
}

// Share is Fraction for those who tell unknown from nothing: nil when the total is not known.
func (p Progress) Share() *float64 {
	f, known := p.Fraction()
	if !known {
		return nil
	}
	return &f
}

// Failure is why an attempt failed, in words for the owner.
type Failure struct {
	Code    string
	Message string
}

// Attempt is one run of a job by a worker.
type Attempt struct {
	Job        ID
	Number     int
	StartedAt  time.Time
	FinishedAt time.Time
	Error      *Failure
	Log        []string // at most maxLogLines

	claim int64
}

// FileID names a file of a job, "art_…".
type FileID string

// File is a file that a job reads or has made.
type File struct {
	ID        FileID
	Job       ID
	Role      Role
	Key       blob.Key
	Name      string
	MediaType string
	Bytes     int64
	SHA256    []byte
	CreatedAt time.Time
}

// Role says what a file is to its job.
type Role string

// The roles.
const (
	Input    Role = "INPUT"
	Artifact Role = "ARTIFACT"
	Outcome  Role = "RESULT" // a result too large for the row
	KeptFile Role = "KEPT"   // what an attempt has kept for the next
)

// EventType says what happened.
type EventType string

// The types of events. A snapshot is made for a watcher and not stored.
const (
	Snapshot      EventType = "SNAPSHOT"
	StateChanged  EventType = "STATE"
	ProgressMade  EventType = "PROGRESS"
	LineWritten   EventType = "LOG"
	maxEventPage            = 200
	maxLogLines             = 200
	maxLineBytes            = 2000
	maxStageRunes           = 60
)

// Event is one thing that happened to a job.
type Event struct {
	JobID    ID        `json:"id"`
	Sequence int64     `json:"n"`
	At       time.Time `json:"at"`
	Type     EventType `json:"t"`
	State    State     `json:"s"`
	Attempt  int       `json:"a"`
	Done     int64     `json:"d,omitempty"`
	Total    int64     `json:"of,omitempty"`
	Stage    string    `json:"st,omitempty"`
	Message  string    `json:"m,omitempty"`

	Job *Job `json:"-"` // as it stood then; set for watchers
}

// Said returns the message, nil when there is none.
func (e *Event) Said() *string {
	if e.Message == "" {
		return nil
	}
	return &e.Message
}
