//! Which types may stand for which: assignability with type variables.

use std::collections::HashMap;

use crate::types::Type;

/// The first variable that is not a letter of a signature.
const FIRST_FRESH: u32 = 256;
/// The most parts that a type may have.
const LARGEST: usize = 1000;

/// What is known of type variables so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    bound: HashMap<u32, Type>,
    /// What was known before each change, so that an attempt that fails can be taken back.
    changes: Vec<(u32, Option<Type>)>,
    made: u32,
}

impl Bindings {
    /// A variable that nothing is known of.
    pub fn fresh(&mut self) -> Type {
        self.made += 1;
        Type::Var(FIRST_FRESH + self.made)
    }

    /// The type with the letters of a signature replaced by new variables, the same ones for one call.
    pub fn instantiate(&mut self, of: &Type, letters: &mut HashMap<u32, Type>) -> Type {
        match of {
            Type::Var(letter) if *letter < FIRST_FRESH => {
                letters.entry(*letter).or_insert_with(|| self.fresh()).clone()
            }
            Type::List(list) => Type::list(self.instantiate(&list.item, letters)),
            Type::Map(entry) => Type::map(self.instantiate(&entry.0, letters), self.instantiate(&entry.1, letters)),
            Type::Optional(of) => Type::optional(self.instantiate(of, letters)),
            other => other.clone(),
        }
    }

    /// The type with all that is known put in; what is not known is `dyn` if `to_dyn`.
    pub fn resolve(&self, of: &Type, to_dyn: bool) -> Type {
        match of {
            Type::Var(number) => match self.bound.get(number) {
                Some(bound) => self.resolve(bound, to_dyn),
                None if to_dyn => Type::Dyn,
                None => of.clone(),
            },
            Type::List(list) => Type::list_of_kind(self.resolve(&list.item, to_dyn), list.kind.clone()),
            Type::Map(entry) => Type::map(self.resolve(&entry.0, to_dyn), self.resolve(&entry.1, to_dyn)),
            Type::Optional(of) => Type::optional(self.resolve(of, to_dyn)),
            other => other.clone(),
        }
    }

    /// Whether a value of the type `from` may be where `to` is wanted, and what that says of variables.
    pub fn assign(&mut self, from: &Type, to: &Type) -> bool {
        self.attempt(|types| types.unify(from, to))
    }

    /// [`Self::assign`] for all arguments of a call together.
    pub fn assign_all(&mut self, from: &[Type], to: &[Type]) -> bool {
        self.attempt(|types| from.len() == to.len() && from.iter().zip(to).all(|(from, to)| types.unify(from, to)))
    }

    fn attempt(&mut self, unify: impl FnOnce(&mut Self) -> bool) -> bool {
        self.changes.clear();
        let fits = unify(self);
        if !fits {
            while let Some((number, before)) = self.changes.pop() {
                match before {
                    Some(before) => self.bound.insert(number, before),
                    None => self.bound.remove(&number),
                };
            }
        }
        fits
    }

    fn set(&mut self, number: u32, of: Type) {
        let before = self.bound.insert(number, of);
        self.changes.push((number, before));
    }

    fn unify(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Var(number) = to {
            match self.bind(*number, from) {
                Some(valid) => return valid,
                None if matches!(from, Type::Var(_)) => {}
                None => return false,
            }
        }
        if let Type::Var(number) = from {
            return self.bind(*number, to).unwrap_or(false);
        }
        if from.is_dyn() || to.is_dyn() {
            return true;
        }
        match (from, to) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::List(a), Type::List(b)) => self.unify(&a.item, &b.item),
            (Type::Map(a), Type::Map(b)) => self.unify(&a.0, &b.0) && self.unify(&a.1, &b.1),
            (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            _ => from.same_kind(to),
        }
    }

    /// Whether a variable may be a type; nothing if the variable would be inside of itself.
    fn bind(&mut self, number: u32, of: &Type) -> Option<bool> {
        if matches!(of, Type::Var(other) if *other == number) {
            return Some(true);
        }
        if let Some(bound) = self.bound.get(&number).cloned() {
            if bound == *of {
                return Some(true);
            }
            if !self.unify(of, &bound) {
                return Some(false);
            }
            let general = if less_specific(of, &bound) { of.clone() } else { bound };
            if !self.occurs(number, &general) {
                self.set(number, general);
            }
            return Some(true);
        }
        if self.occurs(number, of) {
            return None;
        }
        self.set(number, of.clone());
        Some(true)
    }

    /// Whether a type with all that is known put in has no more parts than can be handled.
    pub fn is_small(&self, of: &Type) -> bool {
        let mut parts = vec![of];
        let mut left = LARGEST;
        while let Some(part) = parts.pop() {
            if left == 0 {
                return false;
            }
            left -= 1;
            match part {
                Type::Var(number) => parts.extend(self.bound.get(number)),
                other => parts.extend(other.parameters()),
            }
        }
        true
    }

    fn occurs(&self, number: u32, within: &Type) -> bool {
        match within {
            Type::Var(other) if *other == number => true,
            Type::Var(other) => self.bound.get(other).is_some_and(|bound| self.occurs(number, bound)),
            other => other.parameters().into_iter().any(|inner| self.occurs(number, inner)),
        }
    }
}

fn nullable(of: &Type) -> bool {
    matches!(of, Type::Null | Type::Object(_) | Type::Opaque(_) | Type::Optional(_) | Type::Duration | Type::Timestamp)
}

/// Whether the first is the second, or the second with `dyn` in places.
fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Var(_), _) => true,
        (_, Type::Dyn | Type::Var(_)) => false,
        _ => a.same_kind(b) && a.parameters().into_iter().zip(b.parameters()).all(|(a, b)| less_specific(a, b)),
    }
}
