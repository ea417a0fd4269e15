package vault

import (
	"fmt"

	"gatehouse/internal/secret"
	"gatehouse/internal/store"
)

var (
	selectKey = store.SQL(`SELECT sealed FROM deployment_keys WHERE name = ?`)
	insertKey = store.SQL(`INSERT INTO deployment_keys (name, sealed, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`)
)

// where is the condition of the rows of c that hold a value.
func where(c secret.Column) string {
	condition := c.Name + " IS NOT NULL"
	if c.Where != "" {
		condition += " AND " + c.Where
	}
	return condition
}

func selectRows(c secret.Column) *store.Query {
	return store.Passing(fmt.Sprintf(`SELECT %[1]s, %[2]s FROM %[3]s WHERE %[4]s AND %[1]s > ? ORDER BY %[1]s LIMIT ?`, c.ID, c.Name, c.Table, where(c)))
}

func countRows(c secret.Column) *store.Query {
	return store.Passing(fmt.Sprintf(`SELECT count(*) FROM %s WHERE %s`, c.Table, where(c)))
}

func updateRow(c secret.Column) *store.Query {
	return store.Passing(fmt.Sprintf(`UPDATE %[1]s SET %[2]s = ? WHERE %[3]s = ? AND %[2]s = ?`, c.Table, c.Name, c.ID))
}

// value is a stored value as a bind parameter.
func value(c secret.Column, stored []byte) any {
	if c.Text {
		return string(stored)
	}
	return stored
}

func scanRow(scan store.Scan) (r row, err error) {
	err = scan(&r.id, &r.stored)
	return r, err
}
