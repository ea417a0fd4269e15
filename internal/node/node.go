// Package node names what every object has in common that a client can fetch again by its id.
package node

// Node is an object with an id that is unique over all types (GraphQL Global Object Identification).
type Node interface {
	// NodeID returns the id as clients see it, prefix included.
	NodeID() string
}
