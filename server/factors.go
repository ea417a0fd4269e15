package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"gatehouse/account"
	"gatehouse/account/passkey"
)

// mfaMethods are the words of mfa-methods.
var mfaMethods = map[string]account.Method{
	"totp": account.TOTP, "passkey": account.Passkey, "sms": account.SMS, "email": account.Email,
}

// checkMFA fills in the second factors on offer, and refuses to ask for one that nobody could have.
func (s *Settings) checkMFA(refuse func(string, ...any)) {
	chosen := len(s.MFAMethods) > 0
	if !chosen {
		s.MFAMethods = []string{"totp", "passkey", "email", "sms"}
		if s.production() {
			s.MFAMethods = []string{"totp", "passkey"}
			if s.SMSURL != "" {
				s.MFAMethods = append(s.MFAMethods, "sms")
			}
		}
	}
	if slices.Equal(s.MFAMethods, []string{"none"}) {
		s.MFAMethods = nil
	}
	for _, word := range s.MFAMethods {
		method, known := mfaMethods[word]
		if !known {
			refuse("mfa-methods: %q is none; write some of totp, passkey, email, sms, or none alone", word)
			continue
		}
		s.mfa.Methods = append(s.mfa.Methods, method)
	}
	s.mfa.Enforce = account.EnforceMFA(strings.ToUpper(s.MFA))
	s.checkPasskeys(chosen, refuse)
	s.checkEnforced(refuse)
}

func (s *Settings) checkEnforced(refuse func(string, ...any)) {
	offers := func(m account.Method) bool { return slices.Contains(s.mfa.Methods, m) }
	if s.production() && offers(account.SMS) && s.SMSURL == "" {
		refuse("mfa-methods has sms, but without sms-url no code can be sent; set it, or leave sms out")
	}
	if s.production() && offers(account.Email) && s.SMTPURL == "" {
		refuse("mfa-methods has email, but without smtp-url no code can be sent; set it, or leave email out")
	}
	enrol := offers(account.TOTP) || offers(account.Passkey) || offers(account.SMS)
	confirmed := offers(account.Email) && s.EmailVerification == "required"
	if s.MFA != "optional" && !enrol && !confirmed {
		refuse("mfa is %s, but no method can be enrolled: nobody concerned could sign in; add totp to mfa-methods, or write mfa=optional", s.MFA)
	}
}

// checkPasskeys names the relying party. Where the public URL has none and nobody asked for passkeys,
// there are none.
func (s *Settings) checkPasskeys(chosen bool, refuse func(string, ...any)) {
	if !slices.Contains(s.mfa.Methods, account.Passkey) {
		return
	}
	if s.PasskeyRPID == "" {
		s.PasskeyRPID = s.public.Hostname()
		if ip, err := netip.ParseAddr(s.PasskeyRPID); err == nil && ip.IsLoopback() {
			s.PasskeyRPID = "localhost" // an IP address cannot have passkeys; browsers open either
		}
	}
	if _, err := s.relyingParty(); err != nil {
		if chosen || s.production() {
			refuse("mfa-methods has passkey, but %w; set public-url or passkey-rp-id to a domain that its pages are on, or leave passkey out", err)
		}
		s.mfa.Methods = slices.DeleteFunc(s.mfa.Methods, func(m account.Method) bool { return m == account.Passkey })
	}
}

// factors returns the second factors on offer. Passkeys need the port that the server listens at.
func (s Settings) factors() (account.MFA, error) {
	mfa := s.mfa
	if !slices.Contains(mfa.Methods, account.Passkey) {
		return mfa, nil
	}
	var err error
	mfa.Passkey, err = s.relyingParty()
	return mfa, err
}

// relyingParty is who passkeys are made for: the pages of this server and of those allowed origins that
// are on its domain.
func (s Settings) relyingParty() (*passkey.RelyingParty, error) {
	candidates := append([]string{s.PublicURL}, s.AllowedOrigins...)
	if ip, err := netip.ParseAddr(s.public.Hostname()); err == nil && ip.IsLoopback() {
		local := url.URL{Scheme: s.public.Scheme, Host: strings.TrimSuffix(net.JoinHostPort("localhost", s.public.Port()), ":")}
		candidates = append(candidates, local.String())
	}
	var origins []string
	for _, origin := range candidates {
		u, err := url.Parse(origin)
		if err != nil || u.Hostname() != s.PasskeyRPID && !strings.HasSuffix(u.Hostname(), "."+s.PasskeyRPID) {
			continue
		}
		if !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	if len(origins) == 0 {
		return nil, fmt.Errorf("no page is on the domain %q", s.PasskeyRPID)
	}
	return passkey.New(passkey.Options{ID: s.PasskeyRPID, Origins: origins, Name: s.Product})
}
