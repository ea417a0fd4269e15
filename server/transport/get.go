package transport

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// get answers a query in the URL, or opens an event stream for one or for a subscription.
func (e *exchange) get() {
	if problem := e.preflight(); problem != nil {
		e.fail(problem)
		return
	}
	if problem := e.checkAccept(); problem != nil {
		e.fail(problem)
		return
	}
	if problem := e.authenticate(); problem != nil {
		e.fail(problem)
		return
	}
	params, errs := decodeQuery(e.r.URL.RawQuery)
	if errs != nil {
		e.fail(&failure{status: http.StatusBadRequest, errs: errs})
		return
	}
	params.Headers = e.r.Header
	params.ReadTime = graphql.TraceTiming{Start: e.started, End: e.h.options.Now()}
	e.run(params, true)
}

// decodeQuery reads query, operationName, and variables and extensions as JSON. The server's bound on
// header bytes bounds it.
func decodeQuery(raw string) (*graphql.RawParams, gqlerror.List) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("The URL's query string is malformed.")
	}
	request := envelope{OperationName: values.Get("operationName")}
	if values.Has("query") {
		request.Query = new(values.Get("query"))
	}
	request.Variables = json.RawMessage(values.Get("variables"))
	request.Extensions = json.RawMessage(values.Get("extensions"))
	return request.params()
}
