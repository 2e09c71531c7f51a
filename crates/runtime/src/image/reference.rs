//! Image references: `web:1` means `docker.io/library/web:1`.

use std::fmt;

/// A reference in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry with optional port.
    pub domain: String,
    /// Repository.
    pub path: String,
    /// Tag; `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// Digest.
    pub digest: Option<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether the text is `sha256:` and 64 hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex64)
}

/// Whether the text is 64 lower-case hexadecimal digits.
pub fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_component(part: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    edge(part.as_bytes().first()) && edge(part.as_bytes().last()) && part.bytes().all(inner)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

impl Reference {
    /// Parses and completes a reference.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fail = || format!("couldn't parse image name {text:?}: invalid reference format");
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_string())),
            Some(_) => return Err(fail()),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_string())),
            _ => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) || name.len() > 255 {
            return Err(fail());
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path.to_string()),
            Some(_) => ("docker.io", name.to_string()),
            None => ("docker.io", format!("library/{name}")),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        let good_domain =
            domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'));
        if !good_domain || !path.split('/').all(is_component) {
            return Err(fail());
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_string()));
        Ok(Self { domain: domain.to_string(), path, tag, digest })
    }

    /// The registry's host: Docker Hub's API has another name than its images.
    pub fn host(&self) -> &str {
        if self.domain == "docker.io" { "registry-1.docker.io" } else { &self.domain }
    }

    /// Name without tag or digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// What the registry is asked for: the digest, or else the tag.
    pub fn selector(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (short, full) in [
            ("web:1", "docker.io/library/web:1"),
            ("web", "docker.io/library/web:latest"),
            ("me/web:v1.2", "docker.io/me/web:v1.2"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ] {
            assert_eq!(Reference::parse(short).unwrap().to_string(), full);
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = Reference::parse(&format!("web@{digest}")).unwrap();
        assert_eq!((pinned.tag.as_deref(), pinned.selector()), (None, digest.as_str()));
    }

    #[test]
    fn malformed_names_are_refused() {
        for bad in ["", "Web", "a b", "web:", "web@sha256:12", "x/../y", "/web", "web:-1", "a//b"] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }
}
