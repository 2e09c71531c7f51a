//! The file of static tokens: lines `token,user,uid[,"group1,group2"]`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file>

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::{AUTHENTICATED, User};

/// Tokens that are valid until the server ends.
#[derive(Default)]
pub struct StaticTokens(HashMap<String, Arc<User>>);

impl StaticTokens {
    /// # Errors
    /// The file cannot be read, or a line has fewer than three fields.
    pub fn read(path: &Path) -> anyhow::Result<StaticTokens> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the token file {}", path.display()))?;
        StaticTokens::parse(&text).with_context(|| format!("in the token file {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<StaticTokens> {
        let mut tokens = HashMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let mut fields = fields(line);
            if fields.len() < 3 || fields[0].is_empty() || fields[1].is_empty() {
                bail!("line {}: expected token,user,uid and optionally \"group1,group2\"", number + 1);
            }
            let groups = fields.get(3).map(String::as_str).unwrap_or_default();
            let mut groups: Vec<String> =
                groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(Into::into).collect();
            groups.push(AUTHENTICATED.into());
            let user = User { name: fields[1].clone(), uid: fields[2].clone(), groups, extra: Vec::new() };
            tokens.insert(std::mem::take(&mut fields[0]), Arc::new(user));
        }
        Ok(StaticTokens(tokens))
    }

    /// The user of a token.
    pub fn user(&self, token: &str) -> Option<Arc<User>> {
        self.0.get(token).cloned()
    }
}

/// The fields of a CSV line; a field in double quotes may hold commas.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("there is always a field").push(letter),
        }
    }
    fields.into_iter().map(|field| field.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_groups_of_the_fourth_column() {
        let tokens = StaticTokens::parse("t1,ann,1,\"dev,system:masters\"\nt2,bob,2\n").unwrap();
        assert!(tokens.user("t1").unwrap().is_in("system:masters"));
        assert_eq!(tokens.user("t2").unwrap().groups, [AUTHENTICATED]);
        assert!(tokens.user("t3").is_none());
    }

    #[test]
    fn a_short_line_is_an_error_with_its_number() {
        let error = StaticTokens::parse("t1,ann,1\nt2,bob").err().unwrap();
        assert!(error.to_string().starts_with("line 2"));
    }
}
