// Package conformance runs the clients that people use against the real binary: graphql-http's audits,
// graphql-ws, subscriptions-transport-ws, graphql-sse, urql, Apollo Client, Relay's expectations and
// GraphQL Code Generator (checks/*.test.mjs), and a browser (test/browser): in the explorer, with
// passkeys, on the pages of links, and from a page of another origin through an OpenID provider.
//
// # Running
//
//	go test ./test/conformance/
//	BASE_URL=http://127.0.0.1:8080 npm test   # the checks alone, against a server that runs
//
// The tests need Node 20.19 or newer with npm, the packages that the lock files pin, and for the
// browser Chromium (CHROMIUM names it where it is not on the PATH). What is missing skips them, or
// fails them when GATEHOUSE_TEST_REQUIRE is "all"; so does -short. Packages are installed when their
// lock file has changed. GATEHOUSE_TEST_BINARY names a program to test in place of a fresh build.
//
// # Bounds
//
// A test ends its server and its Node program before the deadline of go test, so none stays behind.
package conformance
