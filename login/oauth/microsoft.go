package oauth

import (
	"regexp"
	"strings"
)

// Microsoft has one issuer a tenant. The metadata that many tenants share names a template in its
// place, so the ID token's own tenant (tid) shapes the issuer that is wanted of it.

const (
	tenantTemplate  = "{tenantid}"
	consumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad" // the one of all personal accounts
)

var (
	tenantID   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	tenantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)
)

func multiTenant(tenant string) bool {
	return tenant == "common" || tenant == "organizations" || tenant == "consumers"
}

// issuerBase is where the metadata lie.
func (p *Provider) issuerBase() string {
	if p.config.Kind == Microsoft {
		return p.tenantIssuer(p.config.Tenant)
	}
	return p.config.Issuer
}

func (p *Provider) tenantIssuer(tenant string) string {
	return p.config.Issuer + "/" + tenant + "/v2.0"
}

// announces reports whether metadata may name issuer: the configured one to the letter (OpenID Connect
// Discovery §4.3); of Microsoft the template where many tenants sign in, else the issuer of one.
func (p *Provider) announces(issuer string) bool {
	if p.config.Kind != Microsoft {
		return issuer == p.config.Issuer
	}
	if issuer == p.tenantIssuer(tenantTemplate) {
		return multiTenant(p.config.Tenant)
	}
	tenant, known := p.tenantOf(issuer)
	return known && p.admits(tenant)
}

// issued reports whether an ID token with this iss and tid is of the provider that m describes.
func (p *Provider) issued(m metadata, iss, tid string) bool {
	switch p.config.Kind {
	case Microsoft:
		tenant, known := p.tenantOf(iss)
		return known && tenant == tid && p.admits(tenant) && (iss == m.Issuer || m.Issuer == p.tenantIssuer(tenantTemplate))
	case Google:
		return iss == m.Issuer || "https://"+iss == googleIssuer && m.Issuer == googleIssuer // both are documented
	case OIDC, Apple, GitHub:
	}
	return iss == m.Issuer
}

// answers reports whether iss, the parameter of RFC 9207, names the provider that m describes.
func (p *Provider) answers(m metadata, iss string) bool {
	switch p.config.Kind {
	case Microsoft:
		tenant, _ := p.tenantOf(iss)
		return iss == m.Issuer || p.issued(m, iss, tenant)
	case GitHub:
		return iss == m.Issuer+"/login/oauth" // what GitHub sends; it publishes no metadata
	case OIDC, Google, Apple:
	}
	return iss == m.Issuer
}

// tenantOf returns the tenant's ID in one of Microsoft's issuers.
func (p *Provider) tenantOf(issuer string) (string, bool) {
	tenant, before := strings.CutPrefix(issuer, p.config.Issuer+"/")
	tenant, after := strings.CutSuffix(tenant, "/v2.0")
	return tenant, before && after && tenantID.MatchString(tenant)
}

// admits reports whether accounts of a tenant may sign in. A domain stands for the tenant that its
// metadata name.
func (p *Provider) admits(tenant string) bool {
	switch configured := strings.ToLower(p.config.Tenant); configured {
	case "common":
		return true
	case "organizations":
		return tenant != consumersTenant
	case "consumers":
		return tenant == consumersTenant
	default:
		return !tenantID.MatchString(configured) || tenant == configured
	}
}
