//! Amounts of resources by name.

use std::collections::BTreeMap;

pub use coracle_values::pods::Sum;
use serde_json::{Map, Value};

use crate::meta;
use crate::quantity::Quantity;

/// An amount of each resource that has one, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(pub BTreeMap<String, Quantity>);

impl Amounts {
    /// A resource list of an object. What is no quantity is left out.
    pub fn of(list: &Value) -> Self {
        let amounts = meta::string_map(list).filter_map(|(name, text)| Some((name.to_owned(), text.parse().ok()?)));
        Self(amounts.collect())
    }

    /// The amount of a resource, if it has one.
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    /// Sets the amount of a resource.
    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    /// Takes the amounts of another away; what was not there becomes less than nothing.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let rest = self.get(name).unwrap_or_default() - *amount;
            self.set(name, rest);
        }
    }

    /// Only the amounts of which something holds.
    #[must_use]
    pub fn only(&self, mut holds: impl FnMut(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| holds(name)).map(|(name, amount)| (name.clone(), *amount)).collect())
    }

    /// As a resource list of an object.
    pub fn to_value(&self) -> Value {
        let list: Map<String, Value> =
            self.0.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect();
        Value::Object(list)
    }
}

impl Sum for Amounts {
    fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.get(name).map_or(*amount, |own| own + *amount);
            self.set(name, sum);
        }
    }

    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            if self.get(name).is_none_or(|own| own < *amount) {
                self.set(name, *amount);
            }
        }
    }
}

/// `cpu=1,pods=2`
impl std::fmt::Display for Amounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_added_and_taken_away_by_name() {
        let mut amounts = Amounts::of(&json!({"cpu": "500m", "memory": "1Gi", "odd": "x"}));
        amounts.add(&Amounts::of(&json!({"cpu": "1", "pods": "2"})));
        assert_eq!(amounts.to_string(), "cpu=1500m,memory=1Gi,pods=2");
        amounts.subtract(&Amounts::of(&json!({"pods": "1", "services": "1"})));
        assert_eq!(amounts.to_string(), "cpu=1500m,memory=1Gi,pods=1,services=-1");
        amounts.raise(&Amounts::of(&json!({"memory": "2Gi", "cpu": "1"})));
        assert_eq!(
            amounts.only(|name| name != "pods").to_value(),
            json!({"cpu": "1500m", "memory": "2Gi", "services": "-1"})
        );
    }
}
