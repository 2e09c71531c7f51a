//! The most that an expression can cost on any object that its schema allows, told before it runs.
//!
//! An API server refuses a CustomResourceDefinition with rules that could cost too much. The caller multiplies
//! by how often a rule can run on one object, and compares with [`RULE_LIMIT`] and [`DEFINITION_LIMIT`].

use std::sync::Arc;

use crate::budget::{LIST_CREATE, MAP_CREATE, OBJECT_CREATE, TRAVERSAL};
use crate::function::{Cost, Overload};
use crate::node::{Fold, Node};
use crate::program::Program;
use crate::types::Type;
use crate::value::CelValue;

/// The most that one rule may be estimated at.
pub const RULE_LIMIT: u64 = 10_000_000;
/// The most that all rules of a definition may be estimated at together.
pub const DEFINITION_LIMIT: u64 = 100_000_000;

/// The sizes that a schema allows.
pub trait Sizes {
    /// The most code points, octets, items or entries of what is at a path of properties, which begins with the
    /// name of a variable; `@items`, `@keys` and `@values` are what is in lists and maps. 1 for numbers and the like;
    /// nothing if there is no limit.
    fn largest(&self, path: &[Arc<str>]) -> Option<u64>;
}

impl Program {
    /// The most that one evaluation can cost; `u64::MAX` if there is no limit.
    pub fn estimated_cost(&self, sizes: &dyn Sizes) -> u64 {
        Estimator { sizes, stack: Vec::new() }.estimate(self.node()).cost
    }
}

/// What is known of a value: its size, where in the object it comes from, and what is in it.
#[derive(Clone, Debug, Default)]
struct Shape {
    size: Option<u64>,
    path: Option<Vec<Arc<str>>>,
    item: Option<Arc<Shape>>,
}

#[derive(Clone, Debug, Default)]
struct Estimate {
    cost: u64,
    shape: Shape,
}

struct Estimator<'s> {
    sizes: &'s dyn Sizes,
    stack: Vec<Shape>,
}

fn scalar() -> Shape {
    Shape { size: Some(1), ..Shape::default() }
}

impl Shape {
    /// What is in it: the part of its path with this name, or what was put into it.
    fn inner(&self, name: &str) -> Shape {
        let path = self.path.as_ref().map(|path| path.iter().cloned().chain([Arc::from(name)]).collect());
        match (&self.item, path) {
            (Some(item), None) => (**item).clone(),
            (_, path) => Shape { path, ..Shape::default() },
        }
    }

    /// What may be the one or the other.
    fn or(self, other: Shape) -> Shape {
        let path = if self.path == other.path { self.path.clone() } else { None };
        let size = self.size.zip(other.size).map(|(a, b)| a.max(b));
        let item = match (self.item, other.item) {
            (Some(a), Some(b)) => Some(Arc::new((*a).clone().or((*b).clone()))),
            (item, None) | (None, item) => item,
        };
        Shape { size, path, item }
    }
}

impl Estimator<'_> {
    fn size(&self, shape: &Shape) -> u64 {
        let declared = || shape.path.as_ref().and_then(|path| self.sizes.largest(path));
        shape.size.or_else(declared).unwrap_or(u64::MAX)
    }

    fn estimate(&mut self, node: &Node) -> Estimate {
        match node {
            Node::Const(value) => constant(value),
            Node::Variable(name) => {
                Estimate { cost: 1, shape: Shape { path: Some(vec![name.clone()]), ..Shape::default() } }
            }
            Node::Local(place) => Estimate { cost: 1, shape: self.stack.get(*place).cloned().unwrap_or_default() },
            Node::Select(select) => {
                let operand = self.estimate(&select.operand);
                if select.test {
                    return Estimate { cost: operand.cost, shape: scalar() };
                }
                let property = select.property.as_ref().unwrap_or(&select.field);
                Estimate { cost: operand.cost.saturating_add(1), shape: self.field(&operand.shape, property) }
            }
            Node::Index { operand, key, .. } => {
                let (operand, key) = (self.estimate(operand), self.estimate(key));
                let shape = self.element(&operand.shape);
                Estimate { cost: operand.cost.saturating_add(key.cost).saturating_add(1), shape }
            }
            Node::And(operands) | Node::Or(operands) => {
                let cost = self.total(operands.as_slice());
                Estimate { cost, shape: scalar() }
            }
            Node::Conditional(parts) => {
                let [condition, yes, no] = parts.each_ref().map(|part| self.estimate(part));
                let cost = condition.cost.saturating_add(yes.cost.max(no.cost));
                Estimate { cost, shape: yes.shape.or(no.shape) }
            }
            Node::NotStrictlyFalse(operand) => {
                Estimate { cost: self.estimate(operand).cost.saturating_add(1), shape: scalar() }
            }
            Node::Call { overloads, args } => self.call(overloads, args),
            Node::Membership { item, list } => {
                let item = self.estimate(item);
                let list_cost = constant(&CelValue::List(list.clone())).cost;
                let cost = item.cost.saturating_add(list_cost).saturating_add(list.len() as u64);
                Estimate { cost, shape: scalar() }
            }
            Node::List(items) => {
                let mut made = Estimate { cost: LIST_CREATE, shape: Shape::default() };
                let items: Vec<_> = items.iter().map(|(item, _)| self.estimate(item)).collect();
                made.cost = items.iter().fold(made.cost, |cost, item| cost.saturating_add(item.cost));
                made.shape.size = Some(items.len() as u64);
                made.shape.item = items.into_iter().map(|item| item.shape).reduce(Shape::or).map(Arc::new);
                made
            }
            Node::Map(entries) => {
                let mut cost = MAP_CREATE;
                let mut item: Option<Shape> = None;
                for entry in entries {
                    let (key, value) = (self.estimate(&entry.key), self.estimate(&entry.value));
                    cost = cost.saturating_add(key.cost).saturating_add(value.cost);
                    item = Some(item.map_or(value.shape.clone(), |known| known.or(value.shape)));
                }
                let shape = Shape { size: Some(entries.len() as u64), path: None, item: item.map(Arc::new) };
                Estimate { cost, shape }
            }
            Node::Object { fields, .. } => {
                let cost = fields
                    .iter()
                    .fold(OBJECT_CREATE, |cost: u64, field| cost.saturating_add(self.estimate(&field.value).cost));
                Estimate { cost, shape: Shape::default() }
            }
            Node::Fold(fold) => self.fold(fold),
            Node::Append { item, cost, .. } => {
                let item = self.estimate(item);
                let shape = Shape { item: Some(Arc::new(item.shape)), ..Shape::default() };
                // A list of a literal costs nothing when it is evaluated, and is counted here.
                Estimate { cost: item.cost.saturating_add((*cost).max(LIST_CREATE + 2)), shape }
            }
            Node::Insert { args, .. } => {
                let cost = self.total(args).saturating_add(2);
                Estimate { cost, shape: Shape::default() }
            }
        }
    }

    fn total(&mut self, nodes: &[Node]) -> u64 {
        nodes.iter().fold(0, |cost: u64, node| cost.saturating_add(self.estimate(node).cost))
    }

    /// A property; in a map, the value of a key.
    fn field(&self, of: &Shape, property: &str) -> Shape {
        let named = of.inner(property);
        match &named.path {
            Some(path) if self.sizes.largest(path).is_none() && self.is_known(&of.inner("@values")) => {
                of.inner("@values")
            }
            _ => named,
        }
    }

    fn element(&self, of: &Shape) -> Shape {
        let item = of.inner("@items");
        if item.path.is_some() && !self.is_known(&item) { of.inner("@values") } else { item }
    }

    fn is_known(&self, shape: &Shape) -> bool {
        shape.path.as_ref().is_some_and(|path| self.sizes.largest(path).is_some())
    }

    fn fold(&mut self, fold: &Fold) -> Estimate {
        let (range, init) = (self.estimate(&fold.range), self.estimate(&fold.init));
        let rounds = self.size(&range.shape);
        let (item, key) = (self.element(&range.shape), range.shape.inner("@keys"));
        let keyed = self.is_known(&key);
        self.stack.truncate(fold.accumulator);
        self.stack.push(init.shape.clone());
        match (fold.two, keyed) {
            (true, true) => self.stack.extend([key, item]),
            (true, false) => self.stack.extend([scalar(), item]),
            (false, true) => self.stack.push(key),
            (false, false) => self.stack.push(item),
        }
        let condition = self.estimate(&fold.condition);
        let step = self.estimate(&fold.step);
        self.stack.truncate(fold.accumulator);
        // What is built in rounds has at most one item for each.
        let built = if rounds == 0 {
            init.shape
        } else {
            Shape { size: init.shape.size.map(|size| size.max(rounds)), path: None, item: step.shape.item }
        };
        self.stack.push(built);
        let result = self.estimate(&fold.result);
        self.stack.truncate(fold.accumulator);
        let cost = rounds.saturating_mul(condition.cost.saturating_add(step.cost));
        let cost = [range.cost, init.cost, result.cost].into_iter().fold(cost, u64::saturating_add);
        Estimate { cost, shape: result.shape }
    }

    fn call(&mut self, overloads: &[&'static Overload], args: &[Node]) -> Estimate {
        let args: Vec<Estimate> = args.iter().map(|arg| self.estimate(arg)).collect();
        let sizes: Vec<u64> = args.iter().map(|arg| self.size(&arg.shape)).collect();
        let before = args.iter().fold(0, |cost: u64, arg| cost.saturating_add(arg.cost));
        let cost = overloads.iter().map(|overload| self.call_cost(overload, &args, &sizes)).max().unwrap_or(1);
        let shape = overloads.iter().map(|overload| result(overload, &args, &sizes)).reduce(Shape::or);
        Estimate { cost: before.saturating_add(cost), shape: shape.unwrap_or_default() }
    }

    fn call_cost(&self, overload: &Overload, args: &[Estimate], sizes: &[u64]) -> u64 {
        match overload.cost {
            Cost::Deep => {
                let item = args.first().map_or(1, |list| match overload.parameters.first() {
                    Some(Type::List(_)) => walk(self.size(&self.element(&list.shape)), TRAVERSAL).saturating_add(1),
                    _ => 1,
                });
                sizes.first().copied().unwrap_or(0).saturating_mul(item)
            }
            Cost::Result(factor) => match args {
                [list, ..] => walk(joined(self.size(&self.element(&list.shape)), sizes), factor),
                [] => 1,
            },
            _ => overload.cost.of(sizes),
        }
    }
}

/// The size of all texts of a list and what is between them.
fn joined(item: u64, sizes: &[u64]) -> u64 {
    let list = sizes.first().copied().unwrap_or(0);
    list.saturating_mul(item.saturating_add(sizes.get(1).copied().unwrap_or(0)))
}

/// What a function makes of arguments of these sizes.
fn result(overload: &Overload, args: &[Estimate], sizes: &[u64]) -> Shape {
    let first = args.first().map(|arg| arg.shape.clone()).unwrap_or_default();
    match (&overload.result, overload.cost) {
        (Type::List(_) | Type::Map(_) | Type::Optional(_) | Type::Dyn | Type::Var(_) | Type::Opaque(_), _) => {
            let size = sizes.iter().fold(0_u64, |total, size| total.saturating_add(*size));
            let item = args.iter().filter_map(|arg| arg.shape.item.as_deref().cloned()).reduce(Shape::or);
            let path = if args.len() == 1 { first.path } else { None };
            Shape { size: Some(size).filter(|size| *size < u64::MAX), path, item: item.map(Arc::new) }
        }
        // A part of a text, chosen by numbers, is no longer than that.
        (Type::String | Type::Bytes, Cost::First(factor))
            if factor <= TRAVERSAL && overload.parameters.iter().skip(1).all(|kind| matches!(kind, Type::Int)) =>
        {
            Shape { size: sizes.first().copied().filter(|size| *size < u64::MAX), ..Shape::default() }
        }
        (Type::String | Type::Bytes, Cost::Both) => {
            let size = sizes.iter().fold(0_u64, |total, size| total.saturating_add(*size));
            Shape { size: Some(size).filter(|size| *size < u64::MAX), ..Shape::default() }
        }
        (Type::String | Type::Bytes, _) => Shape::default(),
        _ => scalar(),
    }
}

fn walk(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn constant(value: &CelValue<'static>) -> Estimate {
    let shape = Shape { size: Some(value.cost_size() as u64), ..Shape::default() };
    match value {
        CelValue::List(list) => {
            let items: Vec<Estimate> = list.iter().flatten().map(|item| constant(&item)).collect();
            let cost = items.iter().fold(LIST_CREATE, |cost, item| cost.saturating_add(item.cost));
            let item = items.into_iter().map(|item| item.shape).reduce(Shape::or).map(Arc::new);
            Estimate { cost, shape: Shape { item, ..shape } }
        }
        CelValue::Map(_) => Estimate { cost: MAP_CREATE, shape },
        _ => Estimate { cost: 0, shape },
    }
}
