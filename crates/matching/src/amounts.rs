//! Amounts of resources as whole numbers, to be compared and added up often.

use std::collections::BTreeMap;

pub use coracle_values::pods::Sum;
use coracle_values::quantity::Quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use smol_str::SmolStr;

/// Amounts by the name of their resource, as objects say them.
pub type ResourceList = BTreeMap<String, ApiQuantity>;

/// The name of a resource. The first three are fields of [`Amounts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `cpu`
    Cpu,
    /// `memory`
    Memory,
    /// `ephemeral-storage`
    EphemeralStorage,
    /// Huge pages and extended resources.
    Scalar(SmolStr),
}

impl Resource {
    /// The resource of a name.
    pub fn new(name: &str) -> Resource {
        match name {
            "cpu" => Resource::Cpu,
            "memory" => Resource::Memory,
            "ephemeral-storage" => Resource::EphemeralStorage,
            other => Resource::Scalar(other.into()),
        }
    }
}

/// An amount of each resource: CPU in thousandths, all else in units or bytes. `pods` is none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Amounts {
    /// Thousandths of a processor.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// By name, in its order; few nodes have any.
    pub scalar: Vec<(SmolStr, i64)>,
}

impl Amounts {
    /// The amount of a resource; zero where there is none.
    pub fn get(&self, resource: &Resource) -> i64 {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::EphemeralStorage => self.ephemeral_storage,
            Resource::Scalar(name) => self.scalar(name),
        }
    }

    /// The amount of a resource that is no field.
    pub fn scalar(&self, name: &str) -> i64 {
        let found = self.scalar.binary_search_by(|(other, _)| other.as_str().cmp(name));
        found.ok().and_then(|at| self.scalar.get(at)).map_or(0, |(_, amount)| *amount)
    }

    /// The amount of the resource of a name; zero where there is none.
    pub fn named(&self, name: &str) -> i64 {
        self.get(&Resource::new(name))
    }

    /// What there is, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let fields = [("cpu", self.cpu), ("memory", self.memory), ("ephemeral-storage", self.ephemeral_storage)];
        let all = fields.into_iter().chain(self.scalar.iter().map(|(name, amount)| (name.as_str(), *amount)));
        all.filter(|(_, amount)| *amount != 0)
    }

    /// The amount of the resource of a name, to be changed.
    pub fn at(&mut self, name: &str) -> &mut i64 {
        match name {
            "cpu" => &mut self.cpu,
            "memory" => &mut self.memory,
            "ephemeral-storage" => &mut self.ephemeral_storage,
            _ => self.scalar_at(name),
        }
    }

    /// Drops the amounts of which something does not hold.
    pub fn keep(&mut self, holds: impl Fn(&str) -> bool) {
        for name in ["cpu", "memory", "ephemeral-storage"].into_iter().filter(|name| !holds(name)) {
            *self.at(name) = 0;
        }
        self.scalar.retain(|(name, _)| holds(name));
    }

    fn scalar_at(&mut self, name: &str) -> &mut i64 {
        let at = match self.scalar.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.scalar.insert(at, (name.into(), 0));
                at
            }
        };
        &mut self.scalar[at].1
    }

    fn combine(&mut self, other: &Amounts, with: impl Fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let mine = self.scalar_at(name);
            *mine = with(*mine, *amount);
        }
    }

    /// Takes away what was added.
    pub fn subtract(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_sub);
        if !other.scalar.is_empty() {
            self.scalar.retain(|(_, amount)| *amount != 0);
        }
    }
}

impl Sum for Amounts {
    fn add(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_add);
    }

    fn raise(&mut self, other: &Amounts) {
        self.combine(other, i64::max);
    }
}

/// A quantity in the unit of its resource; one that does not parse counts as nothing.
pub fn amount(name: &str, quantity: &ApiQuantity) -> i64 {
    match quantity.0.trim().parse::<Quantity>() {
        Ok(quantity) if name == "cpu" => quantity.milli_value(),
        Ok(quantity) => quantity.value(),
        Err(_) => 0,
    }
}

/// Amounts of a resource list, without `pods`.
pub fn amounts(list: Option<&ResourceList>) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, quantity) in list.into_iter().flatten().filter(|(name, _)| *name != "pods") {
        *amounts.at(name) = amount(name, quantity);
    }
    amounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_taken_back_without_a_trace() {
        let mut sum = Amounts::default();
        let mut one = Amounts { cpu: 5, ..Amounts::default() };
        *one.at("example.com/foo") = 3;
        sum.add(&one);
        assert_eq!(sum.get(&Resource::new("example.com/foo")), 3);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("cpu", 5), ("example.com/foo", 3)]);
        sum.subtract(&one);
        assert_eq!(sum, Amounts::default());
    }
}
