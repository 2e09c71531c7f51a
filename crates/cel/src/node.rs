//! A checked expression, ready to be evaluated: names are resolved, functions chosen, constants made.

use std::sync::Arc;

use crate::function::Overload;
use crate::types::TypeSource;
use crate::value::{CelValue, List};

/// An expression.
#[derive(Debug)]
pub(crate) enum Node {
    /// A literal, or a list or map of literals.
    Const(CelValue<'static>),
    /// A variable of the environment.
    Variable(Arc<str>),
    /// A variable of a comprehension: its place on the stack.
    Local(usize),
    /// `operand.field`
    Select(Box<Select>),
    /// `operand[key]`, or `operand[?key]`
    Index { operand: Box<Node>, key: Box<Node>, optional: bool },
    /// `a && b`
    And(Box<[Node; 2]>),
    /// `a || b`
    Or(Box<[Node; 2]>),
    /// `a ? b : c`
    Conditional(Box<[Node; 3]>),
    /// False only if the operand is; an error counts as true.
    NotStrictlyFalse(Box<Node>),
    /// A function of which one of several overloads fits the arguments.
    Call { overloads: Vec<&'static Overload>, args: Vec<Node> },
    /// `item in [1, 2]`: a list of literals costs nothing to look through, as upstream makes a set of it.
    Membership { item: Box<Node>, list: List<'static> },
    /// `[a, ?b]`: items, and whether each is optional.
    List(Vec<(Node, bool)>),
    /// `{a: b, ?c: d}`
    Map(Vec<Entry>),
    /// `Object.spec{a: b, ?c: d}`
    Object { of: Arc<dyn TypeSource>, fields: Vec<Field> },
    /// A comprehension.
    Fold(Box<Fold>),
    /// Adds one item to the list on the stack.
    Append { accumulator: usize, item: Box<Node>, cost: u64 },
    /// Adds an entry, or all of a map, to the map on the stack.
    Insert { accumulator: usize, args: Vec<Node> },
}

/// `operand.field`, `operand.?field` and `has(operand.field)`
#[derive(Debug)]
pub(crate) struct Select {
    pub operand: Node,
    /// As written: the key of a map.
    pub field: Arc<str>,
    /// Without escapes: the property of an object.
    pub property: Option<Arc<str>>,
    /// `has()`
    pub test: bool,
    /// `.?`
    pub optional: bool,
}

/// An entry of a map literal.
#[derive(Debug)]
pub(crate) struct Entry {
    pub key: Node,
    pub value: Node,
    pub optional: bool,
}

/// A field of an object that is made.
#[derive(Debug)]
pub(crate) struct Field {
    pub name: Arc<str>,
    pub value: Node,
    pub optional: bool,
}

/// A loop over a list or the keys of a map. On the stack are the accumulator and, while it loops, one or two variables.
#[derive(Debug)]
pub(crate) struct Fold {
    pub range: Node,
    /// Where the accumulator is.
    pub accumulator: usize,
    pub init: Node,
    /// Whether index or key come with the item or value.
    pub two: bool,
    pub condition: Node,
    pub step: Node,
    pub result: Node,
}
