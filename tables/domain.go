package tables

import (
	"errors"
	"fmt"
	"strings"

	"p2prc/tables/identity"
)

// maxDomain is what the DNS allows, in bytes.
const maxDomain = 253

// canaryDomain is below what no DNS ever knows (RFC 2606): the names in it are
// for proofs alone.
const canaryDomain = "p2prc.invalid"

// CanaryDomain is the domain that leads to the node itself, at any reverse
// proxy. Nobody but the node is lent it.
func CanaryDomain(node identity.ID) string { return string(node) + "." + canaryDomain }

// IsCanaryDomain reports whether the domain is some node's canary, or like one.
func IsCanaryDomain(s string) bool {
	return s == canaryDomain || strings.HasSuffix(s, "."+canaryDomain)
}

// CheckDomain says what is wrong with a domain. There is one spelling for each:
// frps tells domains apart by it, and so does the book of leases. A wildcard would
// be every owner's.
func CheckDomain(s string) error {
	switch {
	case s == "":
		return errors.New("a domain may not be empty")
	case len(s) > maxDomain:
		return fmt.Errorf("a domain has at most %d characters, this one has %d", maxDomain, len(s))
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if CheckName(l) != nil || l[0] == '-' || l[len(l)-1] == '-' {
			return fmt.Errorf("%q is not a domain: write it in small letters, such as app.example.org", s)
		}
	}
	if last := labels[len(labels)-1]; len(labels) == 1 || strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("%q is not a domain: write all of it, such as app.example.org", s)
	}
	return nil
}

// CheckDomainOf says what is wrong with the domain of a mapping: HTTP and HTTPS
// have one, the others have none.
func CheckDomainOf(p Protocol, domain string) error {
	switch {
	case p.ByName() && domain == "":
		return fmt.Errorf("a mapping of %s needs a domain", p.FRP())
	case p.ByName():
		return CheckDomain(domain)
	case domain != "":
		return fmt.Errorf("a mapping of %s has no domain: http and https have", p.FRP())
	}
	return nil
}
