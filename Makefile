# Targets of Gatehouse. Bare `make` prints them; none is needed to run the server: go run ./server.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VERSION ?= 0.1.0-dev

.PHONY: help run build test race e2e chaos generate console fmt lint bench ci

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve at http://127.0.0.1:8080, data in ./data
	go run ./server

build: ## make bin/gatehouse; VERSION=… names it
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/gatehouse ./server

test: ## run all tests; those without their program on this machine are skipped
	go test ./...

race: ## run all tests but the end-to-end ones under the race detector (needs a C compiler)
	go test -race $$(go list ./... | grep -v /test/)

e2e: ## run the end-to-end and conformance tests over the real binary
	go test -count=1 -v ./test/e2e/... ./test/conformance/...

chaos: ## kill, stop and cut everything while 10,000 jobs run; five minutes
	go run ./test/chaos

generate: ## write graph/ anew from schema/
	go generate ./schema

console: ## build the explorer into console/dist (Node 20.19 and npm 11)
	cd console/web && npm ci && npm run build

fmt: ## format all Go files that are not generated
	go tool gofumpt -l -w $$(find . -name '*.go' -not -path '*/node_modules/*' -not -name '*.generated.go')

lint: ## vet, staticcheck, and golangci-lint where it is installed
	go vet ./...
	go tool staticcheck ./...
	@if command -v golangci-lint > /dev/null; then golangci-lint run; else echo "golangci-lint is not installed; CI does not need it"; fi

bench: ## measure Gatehouse beside its peers and print one table
	test/peers/run.sh

ci: ## everything that must hold before a merge, as .ci/run does it
	.ci/run
