package queue

// Fields is a set of fields of a job. A list reads only those that its caller names: each column
// costs a row as much as the search for it.
type Fields uint32

// The fields, each with what belongs to it. The id needs no asking.
const (
	WithOwner Fields = 1 << iota
	WithKind
	WithQueue
	WithPriority
	WithState
	WithAttempt
	WithMaxAttempts
	WithInput // at most maxInputBytes a row
	WithSequence
	WithProgress // but for the stage
	WithStage
	WithResult // and what [Queue.Result] needs: kind, state and where a large one is kept
	WithError
	WithCreatedAt
	WithRunAt
	WithStartedAt
	WithFinishedAt
	WithExpiresAt
	WithParent
	forWorkers  // claim, process and the wish to cancel
	withOutcome // where a large result is kept

	// Everything is what a list can bring.
	Everything = forWorkers - 1
	// whole is what a statement that changes a job returns of it.
	whole = Everything | forWorkers
)

// An Excerpt is a job of which a list has read some fields; the others are zero, whatever the job has.
// So it is no *Job: whoever makes one of it, (*Job)(e), answers for it that nothing else is read.
type Excerpt Job

// Want is what a list is to bring.
type Want struct {
	Fields Fields // of each job; the field that the list is sorted by comes with it
	Total  bool   // how many match in all, which costs a look at every match
}

// fields returns what of each job a list in the order o reads.
func (w Want) fields(o Order) Fields {
	fields := w.Fields | keys[o.Field].field
	if fields&WithResult != 0 {
		fields |= withOutcome
	}
	return fields
}

// tells returns what f itself tells of the jobs that it chooses, and which of fields remain to be read.
func (f Filter) tells(fields Fields) (unknown Fields, known Job) {
	if f.Owner != "" && fields&WithOwner != 0 {
		known.Owner = f.Owner
		fields &^= WithOwner
	}
	return fields, known
}
