// Package guard keeps one GraphQL document from costing more than it should.
//
// # Order
//
// [Install] puts four pieces into a gqlgen executor, in the only order that works:
//
//  1. [Persisted] finds the document behind a hash, and refuses what is not on an allow-list.
//  2. [Limits] looks at the shape of a document that is not in the cache: tokens, depth, aliases, fragments.
//     It runs before validation, since validating a hostile document is itself what costs.
//  3. [Documents] answers with the parsed and validated document.
//  4. [Limits] again, with the variables: what the operation may cost to execute. Then introspection.
//
// # Bounds
//
// Every check is linear in the document, fragments are measured once and remembered, and a document
// has at most [Limits.Tokens] tokens. The caches are bounded by bytes. A refusal is a
// *gqlerror.Error whose extensions carry code LIMIT_EXCEEDED and limit, max, seen and where.
package guard

import (
	"context"
	"fmt"

	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// Options say what Install sets up. The zero value is the production default: the standard limits,
// no introspection, no suggestions, automatic persisted queries on.
type Options struct {
	// Limits bound a document; a zero field takes its default.
	Limits Limits
	// DocumentCacheBytes bounds the cache of parsed documents; 0 means 16 MiB.
	DocumentCacheBytes int
	// Introspection says whether the viewer in the context may query __schema and __type; nil refuses all.
	Introspection func(context.Context) bool
	// Suggestions lets validation errors say "Did you mean …?", which tells a stranger names of the schema.
	Suggestions bool
	// Persisted says how documents are found by their hash.
	Persisted PersistedOptions
}

// Install sets exec's document cache, token limit and validation rules and adds the guards. Call it
// before other extensions that look at operations, and once for an executor. The error names a bad option.
func Install(exec *executor.Executor, options Options) error {
	persisted, err := newPersisted(options.Persisted)
	if err != nil {
		return fmt.Errorf("install guard: %w", err)
	}
	documents := NewDocuments(options.DocumentCacheBytes)
	limits := options.Limits.withDefaults()
	exec.SetQueryCache(documents)
	exec.SetParserTokenLimit(limits.Tokens)
	exec.SetDisableSuggestion(!options.Suggestions)
	if !options.Suggestions {
		exec.SetDefaultRulesFn(silentRules)
	}
	exec.Use(persisted)
	exec.Use(&limiter{limits: limits, documents: documents})
	exec.Use(&introspection{allowed: options.Introspection})
	return nil
}

// silentRules are the default validation rules, those that suggest names exchanged for those that do not.
// The executor's own switch exchanges two of the five.
func silentRules() *rules.Rules {
	set := rules.NewDefaultRules()
	set.RemoveRule(rules.KnownArgumentNamesRule.Name)
	set.RemoveRule(rules.KnownTypeNamesRule.Name)
	set.RemoveRule(rules.ValuesOfCorrectTypeRule.Name)
	set.AddRule(rules.KnownArgumentNamesRuleWithoutSuggestions.Name, rules.KnownArgumentNamesRuleWithoutSuggestions.RuleFunc)
	set.AddRule(rules.KnownTypeNamesRuleWithoutSuggestions.Name, rules.KnownTypeNamesRuleWithoutSuggestions.RuleFunc)
	set.AddRule(rules.ValuesOfCorrectTypeRuleWithoutSuggestions.Name, rules.ValuesOfCorrectTypeRuleWithoutSuggestions.RuleFunc)
	return set
}
