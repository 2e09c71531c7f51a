//! What the claims of a token say of its user.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use coracle_api::admission_expressions::compile;
use coracle_cel::value::List;
use coracle_cel::{Activation, Budget, CelValue, Environment, Program, Type, TypeSource};
use serde_json::Value;

use super::config::{ExtraMapping, JwtAuthenticator, Mapping};
use crate::auth::User;

/// Why a token is not believed.
type Fault = String;

/// The mappings and rules of one issuer, compiled.
pub(super) struct Claims {
    username: Source,
    groups: Option<Source>,
    uid: Option<Source>,
    extra: Vec<(String, Program)>,
    required: Vec<(String, String)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

/// Where a part of a user comes from.
enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
}

struct Rule {
    program: Program,
    expression: String,
    message: String,
}

/// The type of `user`.
#[derive(Debug)]
struct UserType;

impl TypeSource for UserType {
    fn name(&self) -> &str {
        "kubernetes.UserInfo"
    }

    fn field(&self, property: &str) -> Option<Type> {
        let texts = || Type::list(Type::String);
        match property {
            "username" | "uid" => Some(Type::String),
            "groups" => Some(texts()),
            "extra" => Some(Type::map(Type::String, texts())),
            _ => None,
        }
    }
}

fn claims_type() -> Type {
    Type::map(Type::String, Type::Dyn)
}

fn user_type() -> Type {
    Type::Object(Arc::new(UserType))
}

impl Claims {
    /// # Errors
    /// An expression is none: which one, and why.
    pub fn of(config: &JwtAuthenticator) -> Result<Claims> {
        let environment = Environment::new().variable("claims", claims_type());
        let source = |mapping: &Mapping, field: &str, wanted: &[Type]| {
            Source::of(mapping, &environment, wanted).with_context(|| format!("claimMappings.{field}"))
        };
        let texts = || [Type::String, Type::list(Type::String), Type::Dyn];
        let text = || [Type::String, Type::Dyn];
        let mappings = &config.claim_mappings;
        let username = source(&mappings.username, "username", &text())?.context("claimMappings.username")?;
        anyhow::ensure!(
            !config.ignores_email_verified(),
            "claimMappings.username.expression: claims.email_verified must be used in claimMappings.username.expression or \
             claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
             claimMappings.username.expression"
        );
        let extra = |(number, extra): (usize, &ExtraMapping)| {
            let program = compiled(&extra.value_expression, &environment, &texts());
            Ok((extra.key.clone(), program.with_context(|| format!("claimMappings.extra[{number}].valueExpression"))?))
        };
        let rules = config.claim_validation_rules.iter().enumerate();
        let (required, expressions): (Vec<_>, Vec<_>) = rules.partition(|(_, rule)| !rule.claim.is_empty());
        let claim_rule = |(number, expression, message): (usize, &String, &String)| {
            Rule::of(expression, message, &environment).with_context(|| format!("claimValidationRules[{number}]"))
        };
        let of_user = Environment::new().variable("user", user_type());
        let user_rule = |(number, expression, message): (usize, &String, &String)| {
            Rule::of(expression, message, &of_user).with_context(|| format!("userValidationRules[{number}]"))
        };
        let user_rules = config.user_validation_rules.iter().enumerate();
        Ok(Claims {
            username,
            groups: source(&mappings.groups, "groups", &texts())?,
            uid: source(&mappings.uid, "uid", &text())?,
            extra: mappings.extra.iter().enumerate().map(extra).collect::<Result<_>>()?,
            required: required.iter().map(|(_, rule)| (rule.claim.clone(), rule.required_value.clone())).collect(),
            claim_rules: expressions
                .into_iter()
                .map(|(number, rule)| claim_rule((number, &rule.expression, &rule.message)))
                .collect::<Result<_>>()?,
            user_rules: user_rules
                .map(|(number, rule)| user_rule((number, &rule.expression, &rule.message)))
                .collect::<Result<_>>()?,
        })
    }

    /// The user of a token with these claims.
    ///
    /// # Errors
    /// Why there is none.
    pub fn user(&self, claims: &Value) -> Result<User, Fault> {
        let mut budget = Budget::default();
        let all = CelValue::from_json(claims, &claims_type()).map_err(|error| format!("oidc: {error}"))?;
        let activation = Activation::new().with("claims", all);
        if let Source::Claim { name, .. } = &self.username
            && name == "email"
        {
            check_email(claims)?;
        }
        let username = self.username.text("username", claims, &activation, &mut budget)?;
        if username.is_empty() {
            return Err("oidc: username claim not set, or empty".into());
        }
        let groups = self.groups.as_ref().map(|groups| groups.texts("groups", claims, &activation, &mut budget));
        for (claim, wanted) in &self.required {
            match claims[claim].as_str() {
                Some(value) if value == wanted => {}
                Some(value) => {
                    return Err(format!(
                        "oidc: required claim {claim} value does not match. Got = {value}, want = {wanted}"
                    ));
                }
                None if claims[claim].is_null() => {
                    return Err(format!("oidc: required claim {claim} not present in ID token"));
                }
                None => return Err(format!("oidc: parse claim {claim}: it is no text")),
            }
        }
        self.claim_rules.iter().try_for_each(|rule| rule.check(&activation, &mut budget))?;
        let uid = self.uid.as_ref().map(|uid| uid.text("uid", claims, &activation, &mut budget));
        let mut extra = Vec::new();
        for (key, program) in &self.extra {
            let value = evaluated(program, &activation, &mut budget)?;
            match texts(&value)
                .ok_or_else(|| format!("oidc: error evaluating extra claim expression of {key}: no list of texts"))?
            {
                values if values.is_empty() => {}
                values => extra.push((key.clone(), values)),
            }
        }
        let user = User {
            name: username,
            uid: uid.transpose()?.unwrap_or_default(),
            groups: groups.transpose()?.unwrap_or_default(),
            extra,
        };
        self.check_user(&user, &mut budget)?;
        Ok(user)
    }

    fn check_user(&self, user: &User, budget: &mut Budget) -> Result<(), Fault> {
        if self.user_rules.is_empty() {
            return Ok(());
        }
        let mut info = user.info();
        info["uid"] = user.uid.as_str().into();
        if info["extra"].is_null() {
            info["extra"] = serde_json::json!({});
        }
        let value = CelValue::from_json(&info, &user_type()).map_err(|error| format!("oidc: {error}"))?;
        let activation = Activation::new().with("user", value);
        self.user_rules.iter().try_for_each(|rule| rule.check(&activation, budget))
    }
}

/// An address that the issuer has not verified is nobody's name.
fn check_email(claims: &Value) -> Result<(), Fault> {
    match &claims["email_verified"] {
        Value::Null | Value::Bool(true) => Ok(()),
        Value::Bool(false) => Err("oidc: email not verified".into()),
        _ => Err("oidc: parse 'email_verified' claim: it is neither true nor false".into()),
    }
}

impl Source {
    fn of(mapping: &Mapping, environment: &Environment, wanted: &[Type]) -> Result<Option<Source>> {
        Ok(match (mapping.claim.is_empty(), mapping.expression.is_empty()) {
            (true, true) => None,
            (false, _) => {
                let (name, prefix) = (mapping.claim.clone(), mapping.prefix.clone().unwrap_or_default());
                Some(Source::Claim { name, prefix })
            }
            (true, false) => Some(Source::Expression(compiled(&mapping.expression, environment, wanted)?)),
        })
    }

    /// One text.
    fn text(
        &self,
        what: &str,
        claims: &Value,
        activation: &Activation<'_>,
        budget: &mut Budget,
    ) -> Result<String, Fault> {
        match self {
            Source::Claim { name, prefix } => match &claims[name] {
                Value::Null => Err(format!("oidc: parse {what} claims {name:?}: claim not present")),
                Value::String(text) if text.is_empty() => Ok(String::new()),
                Value::String(text) => Ok(format!("{prefix}{text}")),
                _ => Err(format!("oidc: parse {what} claims {name:?}: it is no text")),
            },
            Source::Expression(program) => {
                let value = evaluated(program, activation, budget)?;
                let text = value.as_str().map(str::to_owned);
                text.ok_or_else(|| {
                    format!(
                        "oidc: error evaluating {what} claim expression: expected a string, got {}",
                        value.type_name()
                    )
                })
            }
        }
    }

    /// Several; one alone counts as well, and so does none.
    fn texts(
        &self,
        what: &str,
        claims: &Value,
        activation: &Activation<'_>,
        budget: &mut Budget,
    ) -> Result<Vec<String>, Fault> {
        let none = || format!("oidc: parse {what} claim: expected a string or an array of strings");
        match self {
            Source::Claim { name, prefix } => {
                let found = match &claims[name] {
                    Value::Null => Vec::new(),
                    Value::String(text) => vec![text.clone()],
                    Value::Array(items) => items
                        .iter()
                        .map(|item| item.as_str().map(str::to_owned))
                        .collect::<Option<_>>()
                        .ok_or_else(none)?,
                    _ => return Err(none()),
                };
                Ok(found.into_iter().map(|text| format!("{prefix}{text}")).collect())
            }
            Source::Expression(program) => texts(&evaluated(program, activation, budget)?).ok_or_else(none),
        }
    }
}

impl Rule {
    fn of(expression: &str, message: &str, environment: &Environment) -> Result<Rule> {
        let program = compiled(expression, environment, &[Type::Bool]).context("expression")?;
        Ok(Rule { program, expression: expression.to_owned(), message: message.to_owned() })
    }

    fn check(&self, activation: &Activation<'_>, budget: &mut Budget) -> Result<(), Fault> {
        match evaluated(&self.program, activation, budget)? {
            CelValue::Bool(true) => Ok(()),
            _ if self.message.is_empty() => Err(format!("oidc: validation expression '{}' failed", self.expression)),
            _ => Err(format!("oidc: validation expression '{}' failed: {}", self.expression, self.message)),
        }
    }
}

fn compiled(expression: &str, environment: &Environment, wanted: &[Type]) -> Result<Program> {
    compile(expression, environment, wanted).map_err(|why| anyhow!("{why}"))
}

fn evaluated<'a>(program: &Program, activation: &Activation<'a>, budget: &mut Budget) -> Result<CelValue<'a>, Fault> {
    program.evaluate(activation, budget).map_err(|error| format!("oidc: error evaluating expression: {error}"))
}

/// The texts that a value is: a list, one alone, or nothing. Empty ones do not count.
fn texts(value: &CelValue<'_>) -> Option<Vec<String>> {
    let found = match value {
        CelValue::Null => Vec::new(),
        CelValue::List(list) => each(list)?,
        value => vec![value.as_str()?.to_owned()],
    };
    Some(found.into_iter().filter(|text| !text.is_empty()).collect())
}

fn each(list: &List<'_>) -> Option<Vec<String>> {
    list.iter().map(|item| item.ok()?.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::{ClaimMappings, ClaimRule, UserRule};
    use super::*;
    use serde_json::json;

    fn claim(name: &str, prefix: &str) -> Mapping {
        Mapping { claim: name.into(), prefix: Some(prefix.into()), expression: String::new() }
    }

    fn expression(text: &str) -> Mapping {
        Mapping { expression: text.into(), ..Mapping::default() }
    }

    fn compiled(mappings: ClaimMappings, claim_rules: Vec<ClaimRule>, user_rules: Vec<UserRule>) -> Result<Claims> {
        Claims::of(&JwtAuthenticator {
            claim_mappings: mappings,
            claim_validation_rules: claim_rules,
            user_validation_rules: user_rules,
            ..JwtAuthenticator::default()
        })
    }

    fn user(claims: &Claims, given: Value) -> Result<User, Fault> {
        claims.user(&given)
    }

    #[test]
    fn claims_become_a_user() {
        let mappings =
            ClaimMappings { username: claim("email", "o:"), groups: claim("roles", "o:"), ..ClaimMappings::default() };
        let required = ClaimRule { claim: "hd".into(), required_value: "a".into(), ..ClaimRule::default() };
        let claims = compiled(mappings, vec![required], Vec::new()).unwrap();
        let joe =
            user(&claims, json!({"email": "joe@a", "email_verified": true, "roles": ["x", "y"], "hd": "a"})).unwrap();
        assert_eq!((joe.name.as_str(), joe.groups), ("o:joe@a", vec!["o:x".to_owned(), "o:y".into()]));
        assert_eq!(user(&claims, json!({"email": "joe@a", "roles": "x", "hd": "a"})).unwrap().groups, ["o:x"]);
        for (given, fault) in [
            (json!({"email": "joe@a", "email_verified": false, "hd": "a"}), "oidc: email not verified"),
            (json!({"email": "joe@a", "email_verified": "yes", "hd": "a"}), "email_verified"),
            (json!({"email": 5, "hd": "a"}), "it is no text"),
            (json!({"email": "", "hd": "a"}), "username claim not set"),
            (json!({"hd": "a"}), "claim not present"),
            (json!({"email": "joe@a", "roles": [1], "hd": "a"}), "array of strings"),
            (json!({"email": "joe@a"}), "required claim hd not present"),
            (json!({"email": "joe@a", "hd": "b"}), "value does not match"),
            (json!([]), ""),
        ] {
            assert!(user(&claims, given.clone()).unwrap_err().contains(fault), "{given}");
        }
    }

    #[test]
    fn expressions_make_users_and_refuse_them() {
        let mappings = ClaimMappings {
            username: expression("claims.sub + '@' + claims.tenant"),
            groups: expression("has(claims.roles) ? claims.roles.split(',') : []"),
            uid: expression("claims.oid"),
            extra: vec![ExtraMapping { key: "acme.io/tenant".into(), value_expression: "claims.tenant".into() }],
        };
        let rule = ClaimRule {
            expression: "claims.exp - claims.iat <= 3600".into(),
            message: "too long".into(),
            ..ClaimRule::default()
        };
        let nobody = UserRule { expression: "!user.username.startsWith('system:')".into(), message: "reserved".into() };
        let claims = compiled(mappings, vec![rule], vec![nobody]).unwrap();
        let given =
            |sub: &str, exp: u64| json!({"sub": sub, "tenant": "t", "roles": "a,b", "oid": "7", "iat": 0, "exp": exp});
        let joe = user(&claims, given("joe", 60)).unwrap();
        assert_eq!((joe.name.as_str(), joe.uid.as_str()), ("joe@t", "7"));
        assert_eq!(
            (joe.groups, joe.extra),
            (vec!["a".to_owned(), "b".into()], vec![("acme.io/tenant".to_owned(), vec!["t".to_owned()])])
        );
        assert!(user(&claims, given("joe", 7200)).unwrap_err().ends_with("failed: too long"));
        assert!(user(&claims, given("system:joe", 60)).unwrap_err().ends_with("failed: reserved"));
        assert!(user(&claims, json!({"sub": "joe"})).is_err());
    }

    #[test]
    fn an_expression_that_is_none_is_told_with_its_place() {
        let bad = |mappings, rules| format!("{:#}", compiled(mappings, rules, Vec::new()).err().unwrap());
        let username = || expression("claims.sub");
        let error = bad(ClaimMappings { username: expression("claims."), ..ClaimMappings::default() }, Vec::new());
        assert!(error.starts_with("claimMappings.username: compilation failed"), "{error}");
        let error = bad(ClaimMappings { username: expression("claims.email"), ..ClaimMappings::default() }, Vec::new());
        assert!(error.contains("email_verified"), "{error}");
        let rule = ClaimRule { expression: "claims.sub".into(), ..ClaimRule::default() };
        let error = bad(
            ClaimMappings { username: username(), ..ClaimMappings::default() },
            vec![ClaimRule { expression: "'a'".into(), ..rule }],
        );
        assert_eq!(error, "claimValidationRules[0]: expression: must evaluate to bool but got string");
    }
}
