package jobs

import (
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/viewer"
	"gatehouse/jobs/report"
	"gatehouse/queue"
)

// document begins a report: whose it is, its period, and the moment at which it was counted.
func (r *reporter) document(t telling, title string) *report.Document {
	l, made := t.language, r.now().UTC()
	whose := l.Say("allAccounts")
	switch {
	case t.of != "" && t.name != "":
		whose = l.Say("accountOf", t.name)
	case t.of != "":
		whose = l.Say("oneAccount", string(t.of))
	}
	return &report.Document{
		Language: l, Product: r.product, Title: title, Made: made,
		Lines: []string{whose, l.Say("period", l.Span(t.from, t.to)), l.Say("made", l.Moment(made))},
	}
}

// jobDocument tells of jobs.
func (r *reporter) jobDocument(t telling, a queue.Activity, names map[viewer.UserID]account.User) *report.Document {
	l := t.language
	d := r.document(t, l.Say("jobActivity"))
	d.Figures = []report.Figure{
		{Name: l.Say("jobs"), Value: l.Number(a.Jobs)},
		{Name: l.Say("succeeded"), Value: l.Number(a.Succeeded)},
		{Name: l.Say("failed"), Value: l.Number(a.Failed)},
		{Name: l.Say("open"), Value: l.Number(a.Open())},
		{Name: l.Say("successRate"), Value: l.Percent(a.Succeeded, a.Succeeded+a.Failed)},
	}
	d.Chart = chartOf(t, l.Say("jobsPerDay"), []string{l.Say("succeeded"), l.Say("failed"), l.Say("open"), l.Say("cancelled")},
		a.Days, func(day queue.DayActivity) (time.Time, []int64) {
			return day.Day, []int64{day.Succeeded, day.Failed, day.Open(), day.Cancelled}
		})
	d.Tables = []report.Table{kindTable(l, a)}
	if t.of == "" {
		d.Tables = append(d.Tables, ownerTable(l, a, names))
	}
	d.Tables = append(d.Tables, failureTable(l, a), jobDayTable(l, a))
	d.Notes = []string{l.Say("noteKept"), l.Say("noteTime")}
	return d
}

// accountDocument tells of an account, or of all.
func (r *reporter) accountDocument(t telling, a audit.Activity) *report.Document {
	l := t.language
	d := r.document(t, l.Say("accountActivity"))
	last, lastOf := "otherEvents", audit.Counts.Others
	if t.of == "" {
		last, lastOf = "newAccounts", func(c audit.Counts) int64 { return c.Registered }
	} else {
		lastOf = func(c audit.Counts) int64 { return c.Others() + c.Registered }
	}
	series := []string{l.Say("signIns"), l.Say("refusals"), l.Say("lockouts"), l.Say(last)}
	numbers := func(c audit.Counts) []int64 { return []int64{c.SignIns, c.Refusals, c.Lockouts, lastOf(c)} }
	for i, n := range numbers(a.Counts) {
		d.Figures = append(d.Figures, report.Figure{Name: series[i], Value: l.Number(n)})
	}
	d.Chart = chartOf(t, l.Say("eventsPerDay"), series, a.Days, func(day audit.DayActivity) (time.Time, []int64) {
		return day.Day, numbers(day.Counts)
	})
	d.Notes = []string{l.Say("noteAudit")}
	if t.of != "" {
		d.Tables = []report.Table{actionTable(l, a, "byEvent", "event", l.Name), newestTable(l, a)}
		d.Notes = []string{l.Say("noteEvents"), l.Say("noteAudit")}
		return d
	}
	days := report.Table{Title: l.Say("byDay"), Columns: []report.Column{{Name: l.Say("day"), Width: 2}}, Total: totalRow(l, numbers(a.Counts))}
	for _, name := range series {
		days.Columns = append(days.Columns, report.Column{Name: name, Width: 1.3, Number: true})
	}
	for _, day := range a.Days {
		days.Rows = append(days.Rows, numberRow(l, l.ShortDate(day.Day), numbers(day.Counts)))
	}
	raw := func(action string) string { return action } // as the audit is asked by it
	d.Tables = []report.Table{actionTable(l, a, "byAction", "action", raw), days}
	return d
}

// chartOf puts the days that have something into the row of all days of the period.
func chartOf[T any](t telling, title string, series []string, days []T, read func(T) (time.Time, []int64)) report.Chart {
	first, n := report.DaysOf(t.from, t.to)
	c := report.Chart{Title: title, Series: series, From: first, Days: make([][]int64, n)}
	for _, some := range days {
		day, numbers := read(some)
		if i := int(day.Sub(first) / (24 * time.Hour)); i >= 0 && i < n {
			c.Days[i] = numbers
		}
	}
	return c
}

// tallyColumns are a first column and the numbers of a tally.
func tallyColumns(l *report.Language, first string) []report.Column {
	return []report.Column{
		{Name: l.Say(first), Width: 2},
		{Name: l.Say("jobs"), Width: 1.1, Number: true},
		{Name: l.Say("succeeded"), Width: 1.4, Number: true},
		{Name: l.Say("failed"), Width: 1.4, Number: true},
		{Name: l.Say("cancelled"), Width: 1.4, Number: true},
		{Name: l.Say("open"), Width: 1.05, Number: true},
	}
}

func tallyNumbers(t queue.Tally) []int64 {
	return []int64{t.Jobs, t.Succeeded, t.Failed, t.Cancelled, t.Open()}
}

func numberRow(l *report.Language, first string, numbers []int64) []string {
	row := []string{first}
	for _, n := range numbers {
		row = append(row, l.Number(n))
	}
	return row
}

func totalRow(l *report.Language, numbers []int64) []string {
	return numberRow(l, l.Say("total"), numbers)
}

func kindTable(l *report.Language, a queue.Activity) report.Table {
	table := report.Table{
		Title: l.Say("byKind"), More: a.Kinds.More(), Total: append(totalRow(l, tallyNumbers(a.Tally)), "", ""),
		Columns: append(tallyColumns(l, "kind"), report.Column{Name: l.Say("meanTime"), Width: 1.2, Number: true}, report.Column{Name: l.Say("longestTime"), Width: 1.2, Number: true}),
	}
	for _, k := range a.Kinds.Rows {
		table.Rows = append(table.Rows, append(numberRow(l, k.Kind, tallyNumbers(k.Tally)), l.Duration(k.Mean), l.Duration(k.Longest)))
	}
	return table
}

func ownerTable(l *report.Language, a queue.Activity, names map[viewer.UserID]account.User) report.Table {
	table := report.Table{Title: l.Say("byAccount"), Columns: tallyColumns(l, "account"), More: a.Owners.More(), Total: totalRow(l, tallyNumbers(a.Tally))}
	for _, o := range a.Owners.Rows {
		table.Rows = append(table.Rows, numberRow(l, ownerName(l, o.Owner, names), tallyNumbers(o.Tally)))
	}
	return table
}

// ownerName is the name of an account, else its id: an address is for the list of accounts.
func ownerName(l *report.Language, owner viewer.UserID, names map[viewer.UserID]account.User) string {
	user, known := names[owner]
	switch {
	case owner == "":
		return l.Say("theServer")
	case !known:
		return l.Say("deletedAccount", string(owner))
	case user.Name == "":
		return string(owner)
	}
	return user.Name
}

func failureTable(l *report.Language, a queue.Activity) report.Table {
	table := report.Table{Title: l.Say("failures"), More: a.Failures.More(), Columns: []report.Column{
		{Name: l.Say("kind"), Width: 2}, {Name: l.Say("code"), Width: 2}, {Name: l.Say("times"), Width: 1, Number: true}, {Name: l.Say("lastTime"), Width: 1.6, Number: true},
	}}
	for _, f := range a.Failures.Rows {
		table.Rows = append(table.Rows, []string{f.Kind, f.Code, l.Number(f.Times), l.Moment(f.Last)})
	}
	if len(table.Rows) > 0 {
		table.Total = []string{l.Say("total"), "", l.Number(a.Failed), ""}
	}
	return table
}

func jobDayTable(l *report.Language, a queue.Activity) report.Table {
	table := report.Table{Title: l.Say("byDay"), Columns: tallyColumns(l, "day"), Total: totalRow(l, tallyNumbers(a.Tally))}
	for _, day := range a.Days {
		table.Rows = append(table.Rows, numberRow(l, l.ShortDate(day.Day), tallyNumbers(day.Tally)))
	}
	return table
}

func actionTable(l *report.Language, a audit.Activity, title, first string, name func(string) string) report.Table {
	table := report.Table{
		Title: l.Say(title), More: max(0, a.Kinds-len(a.Actions)), Total: []string{l.Say("total"), "", l.Number(a.Events), ""},
		Columns: []report.Column{
			{Name: l.Say(first), Width: 2.6}, {Name: l.Say("outcome"), Width: 1.2}, {Name: l.Say("times"), Width: 1, Number: true}, {Name: l.Say("lastTime"), Width: 1.6, Number: true},
		},
	}
	for _, c := range a.Actions {
		table.Rows = append(table.Rows, []string{name(string(c.Action)), l.Say("outcome." + string(c.Outcome)), l.Number(c.Times), l.Moment(c.Last)})
	}
	return table
}

func newestTable(l *report.Language, a audit.Activity) report.Table {
	table := report.Table{Title: l.Say("newestEvents"), More: int(a.Events) - len(a.Newest), Columns: []report.Column{
		{Name: l.Say("when"), Width: 1.5}, {Name: l.Say("event"), Width: 2.6}, {Name: l.Say("outcome"), Width: 1.1}, {Name: l.Say("network"), Width: 1.6}, {Name: l.Say("device"), Width: 2},
	}}
	for _, e := range a.Newest {
		table.Rows = append(table.Rows, []string{
			l.Moment(e.At), l.Name(string(e.Action)), l.Say("outcome." + string(e.Outcome)), e.Network, e.Details["agent"],
		})
	}
	return table
}
