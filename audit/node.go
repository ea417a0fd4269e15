package audit

import "encoding/json"

// ActionName returns the action as clients read it.
func (e Entry) ActionName() string { return string(e.Action) }

// SubjectID returns whose account e concerns, nil for none.
func (e Entry) SubjectID() *string { return orNil(string(e.Subject)) }

// SessionID returns the session that e concerns, nil for none.
func (e Entry) SessionID() *string { return orNil(string(e.Session)) }

// Request returns the request in which e happened, nil when in none.
func (e Entry) Request() *string { return orNil(e.RequestID) }

// DetailsJSON returns the details as an object.
func (e Entry) DetailsJSON() (json.RawMessage, error) {
	if e.Details == nil {
		return json.RawMessage("{}"), nil
	}
	return json.Marshal(e.Details)
}
