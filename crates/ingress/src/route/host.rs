//! Names of hosts, and which of those that are known fits best.

use std::collections::HashMap;

use smol_str::SmolStr;

/// How many labels the star of `*.example.com` stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wildcard {
    /// One, as Ingresses and certificates have it.
    #[default]
    OneLabel,
    /// One or more, as the Gateway API has it.
    Labels,
}

/// A host as it is compared: in lower case, without a port and the dot of the root. `None` if it is no name or address.
pub fn normalized(authority: &str) -> Option<SmolStr> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    // A backend that is told of something else there could take it for the host.
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(fits) {
        return None;
    }
    Some(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    })
}

/// Values by names of hosts, some with a star in the place of the first label, and one for every host.
#[derive(Clone, Debug)]
pub struct Hosts<T> {
    exact: HashMap<SmolStr, T>,
    /// By what comes behind the star and its dot.
    wildcards: HashMap<SmolStr, T>,
    any: Option<T>,
    wildcard: Wildcard,
}

impl<T> Hosts<T> {
    /// None yet.
    pub fn new(wildcard: Wildcard) -> Hosts<T> {
        Hosts { exact: HashMap::new(), wildcards: HashMap::new(), any: None, wildcard }
    }

    /// What a star stands for.
    pub fn wildcard(&self) -> Wildcard {
        self.wildcard
    }

    /// The value of a name, as it is written in an object; the empty name is every host.
    pub fn entry(&mut self, name: &str, make: impl FnOnce() -> T) -> &mut T {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix("*.") {
            _ if name.is_empty() => self.any.get_or_insert_with(make),
            Some(rest) => self.wildcards.entry(rest.into()).or_insert_with(make),
            None => self.exact.entry(name.into()).or_insert_with(make),
        }
    }

    /// The value of just this name, as it is written in an object.
    pub fn named(&self, name: &str) -> Option<&T> {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix("*.") {
            _ if name.is_empty() => self.any.as_ref(),
            Some(rest) => self.wildcards.get(rest),
            None => self.exact.get(name.as_str()),
        }
    }

    /// Those that fit a host, the best first.
    pub fn fitting<'a, 'h>(&'a self, host: &'h str) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let exact = self.exact.get(host);
        let depth = match self.wildcard {
            Wildcard::OneLabel => 1,
            Wildcard::Labels => usize::MAX,
        };
        let wildcards = (!self.wildcards.is_empty()).then(|| {
            let behind = host.match_indices('.').take(depth).filter(|(at, _)| *at > 0);
            behind.filter_map(|(at, _)| self.wildcards.get(&host[at + 1..]))
        });
        exact.into_iter().chain(wildcards.into_iter().flatten()).chain(&self.any)
    }

    /// All values.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.wildcards.values_mut()).chain(&mut self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_case_port_and_root() {
        assert_eq!(normalized("Example.COM:8080").as_deref(), Some("example.com"));
        assert_eq!(normalized("example.com.").as_deref(), Some("example.com"));
        assert_eq!(normalized("[::1]:80").as_deref(), Some("::1"));
        for bad in ["", "a b", "a/b", "user@host", "a:@b", "a:80@b", "[::1]b", "a:b", "::1", &"a".repeat(254)] {
            assert_eq!(normalized(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_star_is_one_label_or_several_as_the_interface_has_it() {
        let fitting = |wildcard, host: &str| {
            let mut hosts = Hosts::new(wildcard);
            for name in ["foo.bar.com", "*.bar.com", "*.foo.bar.com", ""] {
                hosts.entry(name, || name.to_owned());
            }
            hosts.fitting(host).map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(fitting(Wildcard::OneLabel, "foo.bar.com"), "foo.bar.com *.bar.com ");
        assert_eq!(fitting(Wildcard::OneLabel, "baz.foo.bar.com"), "*.foo.bar.com ");
        assert_eq!(fitting(Wildcard::OneLabel, "bar.com"), "");
        assert_eq!(fitting(Wildcard::Labels, "baz.foo.bar.com"), "*.foo.bar.com *.bar.com ");
        assert_eq!(fitting(Wildcard::Labels, ".bar.com"), "");
    }
}
