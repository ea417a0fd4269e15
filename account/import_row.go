package account

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/account/password"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// ImportRow is an account as a list has it: all as text, "" for what it does not say.
type ImportRow struct {
	Line         int64 // where it stands, once in a list
	Email        string
	Name         string
	PasswordHash string // see [password.Parse]; "": no password
	Roles        string // separated by spaces, in letters of either case
	Locale       string
	Verified     string // a truth value of Go; "": false
	CreatedAt    string // a day or a moment of RFC 3339; "": now
}

// arrival is an account that is to be made of a row.
type arrival struct {
	row    int // its place among the rows
	user   User
	index  []byte
	sealed secretRow
}

// arrive checks a row and seals what is personal in it.
func (a *Accounts) arrive(i Import, r ImportRow) (*arrival, *fault.Fault, error) {
	user, hash, err := a.readRow(i, r)
	if refused, ok := fault.As(err); ok {
		return nil, refused, nil
	}
	if err != nil {
		return nil, nil, err
	}
	sealed, err := a.seal(user, hash)
	return &arrival{user: user, index: a.emailIndex(user.Email), sealed: sealed}, nil, err
}

// readRow reads a row, in the words of the columns.
func (a *Accounts) readRow(i Import, r ImportRow) (user User, hash password.Encoded, err error) {
	user = User{ID: store.NthID[viewer.UserID]("usr", string(i.Job), r.Line), Status: Active, UpdatedAt: a.now()}
	if user.Email, err = parseEmail(r.Email); err != nil {
		return user, "", err
	}
	if user.Name, err = parseName(r.Name); err != nil {
		return user, "", err
	}
	if user.Locale, err = parseLocale(r.Locale); err != nil {
		return user, "", err
	}
	if hash, err = importedHash(r.PasswordHash); err != nil {
		return user, "", err
	}
	if user.Verified, err = importedTruth(r.Verified); err != nil {
		return user, "", err
	}
	if user.Roles, err = importedRoles(r.Roles, i.Roles, user.Verified); err != nil {
		return user, "", err
	}
	user.CreatedAt, err = importedMoment(r.CreatedAt, user.UpdatedAt)
	return user, hash, err
}

func importedHash(text string) (password.Encoded, error) {
	if text == "" {
		return "", nil
	}
	hash, err := password.Parse(text)
	if errors.Is(err, password.ErrCost) {
		return "", fault.New(fault.Invalid, "password_hash", "The password hash has parameters out of bounds.")
	}
	if err != nil { // its words are not repeated: they may hold the hash
		return "", fault.New(fault.Invalid, "password_hash", "The password hash has none of the forms that can be checked.")
	}
	return hash, nil
}

func importedTruth(text string) (bool, error) {
	if text == "" {
		return false, nil
	}
	is, err := strconv.ParseBool(text)
	if err != nil {
		return false, fault.New(fault.Invalid, "verified", "Whether an address is verified is true or false.")
	}
	return is, nil
}

// importedRoles reads the roles of a row. More than USER is for confirmed addresses: nobody else is to open
// the account of one who may do more.
func importedRoles(text string, allowed []viewer.Role, verified bool) ([]viewer.Role, error) {
	roles := []viewer.Role{viewer.User}
	for _, name := range strings.Fields(text) {
		role := viewer.Role(strings.ToUpper(name))
		switch {
		case !role.Valid():
			return nil, fault.New(fault.Invalid, "roles", "There is no such role.")
		case slices.Contains(roles, role):
			continue
		case !slices.Contains(allowed, role):
			return nil, fault.New(fault.Forbidden, "roles", "The import may not give this role.")
		case !verified:
			return nil, fault.New(fault.Invalid, "roles", "Only an account whose address is verified can have this role.")
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// importedMoment reads when an account was made: since 1970, and not after now.
func importedMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		at, err = time.Parse(time.DateOnly, text)
	}
	if at = at.UTC().Truncate(time.Microsecond); err != nil || at.Unix() <= 0 || at.After(now) {
		return at, fault.New(fault.Invalid, "created_at", "When the account was made is a day or an RFC 3339 moment of the past.")
	}
	return at, nil
}
