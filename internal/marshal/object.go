package marshal

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
)

// Object is one GraphQL object on its way into an answer. The generator of this project puts it in the
// place of gqlgen's FieldSet, which also keeps the books for @defer, which is not served: a third of
// the allocations of a small query.
type Object struct {
	Values   []graphql.Marshaler
	Invalids uint32 // fields that are null and must not be

	fields  []graphql.CollectedField
	delayed []delayed
	places  [8]graphql.Marshaler // of Values, when they are enough
	first   [1]delayed           // of delayed, likewise
}

// delayed is a field that a resolver works on.
type delayed struct {
	at      int
	invalid graphql.Marshaler // the value that makes the object null
	resolve func(ctx context.Context) graphql.Marshaler
}

// NewObject returns an object with fields, all of them to be set.
func NewObject(fields []graphql.CollectedField) *Object {
	o := &Object{fields: fields}
	if len(fields) <= len(o.places) {
		o.Values = o.places[:len(fields)]
	} else {
		o.Values = make([]graphql.Marshaler, len(fields))
	}
	o.delayed = o.first[:0]
	return o
}

// Resolve leaves the field at i to resolve, which [Object.Dispatch] calls. A panic of resolve becomes
// an error of the answer, and the field null.
func (o *Object) Resolve(operation *graphql.OperationContext, i int, nonNull bool, resolve func(ctx context.Context) graphql.Marshaler) {
	o.delayed = append(o.delayed, delayed{i, invalidOf(nonNull), func(ctx context.Context) graphql.Marshaler {
		return orNull(ctx, operation, resolve)
	}})
}

// ResolveRoot is Resolve for a field of Query or Mutation, under ctx and the middleware of root fields.
func (o *Object) ResolveRoot(ctx context.Context, operation *graphql.OperationContext, i int, nonNull bool, resolve func(ctx context.Context) graphql.Marshaler) {
	o.delayed = append(o.delayed, delayed{i, invalidOf(nonNull), func(context.Context) graphql.Marshaler {
		return operation.RootResolverMiddleware(ctx, func(ctx context.Context) graphql.Marshaler {
			return orNull(ctx, operation, resolve)
		})
	}})
}

func invalidOf(nonNull bool) graphql.Marshaler {
	if nonNull {
		return graphql.Null
	}
	return graphql.RequiredNull
}

func orNull(ctx context.Context, operation *graphql.OperationContext, resolve func(ctx context.Context) graphql.Marshaler) (m graphql.Marshaler) {
	defer func() {
		if p := recover(); p != nil {
			operation.Error(ctx, operation.Recover(ctx, p))
			m = graphql.Null
		}
	}()
	return resolve(ctx)
}

// Dispatch resolves what was left to resolvers, side by side, and returns when all of it is there.
func (o *Object) Dispatch(ctx context.Context) {
	if len(o.delayed) == 0 {
		return
	}
	var others sync.WaitGroup
	for i := range o.delayed[1:] {
		others.Go(func() { o.settle(ctx, &o.delayed[1+i]) })
	}
	o.settle(ctx, &o.delayed[0])
	others.Wait()
}

func (o *Object) settle(ctx context.Context, d *delayed) {
	value := d.resolve(ctx)
	o.Values[d.at] = value
	if value == d.invalid {
		atomic.AddUint32(&o.Invalids, 1)
	}
}

// MarshalGQL writes the object as JSON. Of fields with one name, which two interfaces of a type may
// bring, the first counts.
func (o *Object) MarshalGQL(w io.Writer) {
	buffer, ok := w.(*bytes.Buffer)
	if !ok {
		buffer = new(bytes.Buffer)
		defer func() { _, _ = w.Write(buffer.Bytes()) }() // the executor's writers do not fail
	}
	separator := byte('{')
	for i := range o.fields {
		if o.repeats(i) {
			continue
		}
		buffer.WriteByte(separator)
		separator = ','
		buffer.WriteByte('"') // a name needs no escapes
		buffer.WriteString(o.fields[i].Alias)
		buffer.WriteString(`":`)
		o.Values[i].MarshalGQL(buffer)
	}
	if separator == '{' {
		buffer.WriteByte('{')
	}
	buffer.WriteByte('}')
}

func (o *Object) repeats(i int) bool {
	for j := range i {
		if o.fields[j].Alias == o.fields[i].Alias {
			return true
		}
	}
	return false
}
