package main

import (
	"net/http"
	"time"
)

// started is when the process began, for the line that says how long the start took.
var started = time.Now()

// serveCommand serves the API and, unless workers is 0, runs jobs too.
type serveCommand struct{}

// Run implements the command.
func (serveCommand) Run(env *environment) error {
	a, err := newApp(env.ctx, env.settings.listening(), env.log, env.settings.Workers)
	if err != nil {
		return err
	}
	if err := a.openServer(env); err != nil {
		a.close()
		return err
	}
	return a.run(env.ctx)
}

func (a *app) openServer(env *environment) error {
	if err := a.openGraphQL(); err != nil {
		return err
	}
	var err error
	if a.firstAdmin, err = a.newFirstAdmin(env.ctx); err != nil {
		return err
	}
	routes, err := a.routes()
	if err != nil {
		return err
	}
	a.serveWith(routes)
	if err := a.profiles(env.ctx); err != nil {
		return err
	}
	base := "http://" + a.listener.Addr().String()
	a.logger.Info("Gatehouse is ready", "graphql", base+"/graphql", "explorer", base+"/explorer", "front", base+"/",
		"database", a.db.Dialect(), "workers", a.settings.Workers, "env", a.settings.Env, "took", time.Since(started).Round(time.Millisecond))
	if a.firstAdmin != nil {
		a.logger.Warn("there is no administrator; whoever opens this link becomes the first, once", "link", a.firstAdmin.link())
	}
	if !a.settings.sqlite() && a.redis == nil {
		a.logger.Warn("PostgreSQL without redis-url: this must be the only process of the deployment")
	}
	if a.settings.production() && len(a.settings.proxies) == 0 {
		a.logger.Warn("no trusted-proxies: behind a proxy all clients would share its address, and its limits")
	}
	return nil
}

// workerCommand runs jobs and serves nothing but health and metrics.
type workerCommand struct{}

// Run implements the command.
func (workerCommand) Run(env *environment) error {
	a, err := newApp(env.ctx, env.settings.listening(), env.log, env.settings.Workers)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	a.addHealth(mux)
	a.serveWith(a.envelope(mux))
	if err := a.profiles(env.ctx); err != nil {
		a.close()
		return err
	}
	a.logger.Info("Gatehouse works", "health", "http://"+a.listener.Addr().String()+"/healthz",
		"workers", a.settings.Workers, "database", a.db.Dialect(), "took", time.Since(started).Round(time.Millisecond))
	return a.run(env.ctx)
}
