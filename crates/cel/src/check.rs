//! The checker: names, types and overloads, with cel-go's messages, and from the tree to a [`Node`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, SelectExpr};
use cel::common::ast::{IdedEntryExpr, SourceInfo, operators};
use regex::Regex;

use crate::budget::{Budget, LIST_CREATE};
use crate::construct;
use crate::environment::Environment;
use crate::error::CompileError;
use crate::escape::unescape;
use crate::function;
use crate::library::{self, json_patch};
use crate::macros::{ACCUMULATOR, MAP_INSERT};
use crate::node::{Entry, Field, Fold, Node, Select};
use crate::time;
use crate::types::Type;
use crate::unify::Bindings;
use crate::value::{CelValue, Key, Map};

/// The deepest that a checked expression may be: evaluation is recursive, on the stack of whoever asks.
const DEEPEST: usize = 300;
/// More faults than this are not looked for.
const MOST_ERRORS: usize = 100;

type Checked = (Node, Type);

/// The checker's knowledge while it walks over one expression.
pub(crate) struct Checker<'e> {
    environment: &'e Environment,
    source: &'e str,
    info: &'e SourceInfo,
    types: Bindings,
    /// The variables of comprehensions around the place.
    scope: Vec<(String, Type)>,
    depth: usize,
    /// How many calls of `format` are around the place: in them, lists may be mixed.
    formats: usize,
    pub errors: Vec<CompileError>,
    /// The patterns that are literals.
    pub patterns: HashMap<String, Regex>,
    /// The variables of the environment that the expression uses.
    pub used: HashSet<String>,
}

fn wrong() -> Checked {
    (Node::Const(CelValue::Null), Type::Error)
}

impl<'e> Checker<'e> {
    pub fn new(environment: &'e Environment, source: &'e str, info: &'e SourceInfo) -> Self {
        Self {
            environment,
            source,
            info,
            types: Bindings::default(),
            scope: Vec::new(),
            depth: 0,
            formats: 0,
            errors: Vec::new(),
            patterns: HashMap::new(),
            used: HashSet::new(),
        }
    }

    /// The expression and the type of its value.
    pub fn check_all(&mut self, expr: &IdedExpr) -> Checked {
        let (node, of) = self.check(expr);
        (node, self.types.resolve(&of, true))
    }

    fn error(&mut self, id: u64, message: impl Into<String>) -> Checked {
        let (line, column) = self.place(id);
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(CompileError { line, column, message: message.into() });
        }
        wrong()
    }

    /// Line and column of a part of the expression, from 1.
    fn place(&self, id: u64) -> (usize, usize) {
        let start = self.info.offset_for(id).map_or(0, |(start, _)| start as usize);
        let (mut line, mut column) = (1, 1);
        for (_, char) in self.source.char_indices().take_while(|(at, _)| *at < start) {
            (line, column) = if char == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        (line, column)
    }

    fn undeclared(&mut self, id: u64, name: &str) -> Checked {
        self.error(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn mismatch(&mut self, id: u64, expected: &Type, actual: &Type) -> Checked {
        let (expected, actual) = (self.types.resolve(expected, true), self.types.resolve(actual, true));
        self.error(id, format!("expected type '{expected}' but found '{actual}'"))
    }

    fn check(&mut self, expr: &IdedExpr) -> Checked {
        if self.depth >= DEEPEST {
            return self.error(expr.id, format!("expression recursion limit exceeded: {DEEPEST}"));
        }
        self.depth += 1;
        let checked = match &expr.expr {
            Expr::Unspecified => self.error(expr.id, "unexpected unspecified type: expression"),
            Expr::Literal(literal) => literal_value(literal),
            Expr::Ident(name) => self.identifier(expr.id, name),
            Expr::Select(select) => self.select(expr.id, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(expr.id, &map.entries),
            Expr::Struct(object) => self.object(expr.id, &object.type_name, &object.entries),
            Expr::Comprehension(comprehension) => self.comprehension(expr.id, comprehension),
        };
        self.depth -= 1;
        checked
    }

    fn identifier(&mut self, id: u64, name: &str) -> Checked {
        // A leading dot names what is outside of all comprehensions.
        let (name, global) = name.strip_prefix('.').map_or((name, false), |name| (name, true));
        let place = self.scope.iter().rposition(|(known, _)| !global && known == name);
        if let Some(place) = place {
            return (Node::Local(place), self.scope[place].1.clone());
        }
        if let Some(of) = self.environment.find(name) {
            self.used.insert(name.to_owned());
            return (Node::Variable(name.into()), of.clone());
        }
        match library::type_named(name) {
            Some(of) => (Node::Const(CelValue::Type(of)), Type::Type),
            None => self.undeclared(id, name),
        }
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> Checked {
        if let Some(prefix) = qualified_name(&select.operand) {
            let name = format!("{prefix}.{}", select.field);
            if let Some(of) = self.environment.find(&name).filter(|_| !self.is_local(&prefix)) {
                return self.dotted(name, of.clone(), select.test);
            }
            let of = library::type_named(&name).filter(|_| !select.test && !self.is_variable(&prefix));
            if let Some(of) = of {
                return (Node::Const(CelValue::Type(of)), Type::Type);
            }
        }
        self.field(id, &select.operand, &select.field, select.test, false)
    }

    /// A variable whose name has dots: it is always there.
    fn dotted(&mut self, name: String, of: Type, test: bool) -> Checked {
        self.used.insert(name.clone());
        match test {
            true => (Node::Const(CelValue::Bool(true)), Type::Bool),
            false => (Node::Variable(name.into()), of),
        }
    }

    fn is_local(&self, qualified: &str) -> bool {
        let root = qualified.split('.').next().unwrap_or_default();
        self.scope.iter().any(|(name, _)| name == root)
    }

    fn is_variable(&self, qualified: &str) -> bool {
        let root = qualified.split('.').next().unwrap_or_default();
        self.is_local(qualified) || self.environment.find(root).is_some()
    }

    fn field(&mut self, id: u64, operand: &IdedExpr, field: &str, test: bool, optional: bool) -> Checked {
        let (operand, of) = self.check(operand);
        let of = self.types.resolve(&of, false);
        let (target, is_optional) = match &of {
            Type::Optional(inner) => ((**inner).clone(), true),
            _ => (of, false),
        };
        let property = unescape(field);
        let mut result = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(source) => match property.as_deref().and_then(|property| source.field(property)) {
                Some(of) => of,
                None => self.error(id, format!("undefined field '{field}'")).1,
            },
            Type::Var(_) => {
                self.types.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            other if other.is_dyn() => Type::Dyn,
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.error(id, message);
                Type::Dyn
            }
        };
        if is_optional || optional {
            result = Type::optional(result);
        }
        if test {
            result = Type::Bool;
        }
        let property = property.map(Arc::from);
        let select = Select { operand, field: field.into(), property, test, optional: optional || is_optional };
        (Node::Select(Box::new(select)), result)
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Checked {
        if call.func_name == operators::OPT_SELECT {
            return self.optional_select(id, call);
        }
        let Some(target) = &call.target else {
            return self.resolve_call(id, &call.func_name, None, &call.args);
        };
        if let Some(prefix) = qualified_name(target) {
            let name = format!("{prefix}.{}", call.func_name);
            let is_known = self.environment.constructs() || !name.starts_with(json_patch::PREFIX);
            if is_known && library::find(&name).is_some() {
                return self.resolve_call(id, &name, None, &call.args);
            }
        }
        self.resolve_call(id, &call.func_name, Some(target), &call.args)
    }

    fn optional_select(&mut self, id: u64, call: &CallExpr) -> Checked {
        if let [operand, field] = call.args.as_slice()
            && let Some(name) = literal_text(field)
        {
            return self.field(id, operand, name, false, true);
        }
        self.error(id, "unsupported optional field selection")
    }

    fn resolve_call(&mut self, id: u64, name: &str, target: Option<&IdedExpr>, args: &[IdedExpr]) -> Checked {
        let first_of_args = usize::from(target.is_some());
        let all: Vec<&IdedExpr> = target.into_iter().chain(args).collect();
        self.formats += usize::from(name == "format");
        let (nodes, types): (Vec<Node>, Vec<Type>) = all.iter().map(|arg| self.check(arg)).unzip();
        self.formats -= usize::from(name == "format");
        let Some(functions) = library::find(name) else { return self.undeclared(id, name) };
        if matches!(name, operators::LOGICAL_AND | operators::LOGICAL_OR) {
            return self.logical(name, &all, nodes, &types);
        }
        let mut overloads = Vec::new();
        let mut result: Option<Type> = None;
        for overload in functions.iter().filter(|overload| overload.member == target.is_some()) {
            let mut letters = HashMap::new();
            let wanted: Vec<Type> =
                overload.parameters.iter().map(|of| self.types.instantiate(of, &mut letters)).collect();
            let of = self.types.instantiate(&overload.result, &mut letters);
            if !self.types.assign_all(&types, &wanted) {
                continue;
            }
            overloads.push(overload);
            let of = self.types.resolve(&of, false);
            result = Some(match result {
                Some(known) if known != of => Type::Dyn,
                Some(known) => known,
                None => of,
            });
        }
        let Some(result) = result else { return self.no_overload(id, name, &types, target.is_some()) };
        self.check_literals(name, &all[first_of_args.min(all.len())..], &all);
        (self.call_node(name, overloads, nodes), result)
    }

    fn no_overload(&mut self, id: u64, name: &str, types: &[Type], member: bool) -> Checked {
        let types: Vec<Type> = types.iter().map(|of| self.types.resolve(of, true)).collect();
        let (target, args) = if member { types.split_at(types.len().min(1)) } else { types.split_at(0) };
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let target: String = target.iter().map(|of| format!("{of}.")).collect();
        let message = format!("found no matching overload for '{name}' applied to '{target}({})'", args.join(", "));
        self.error(id, message)
    }

    fn logical(&mut self, name: &str, args: &[&IdedExpr], nodes: Vec<Node>, types: &[Type]) -> Checked {
        let mut fits = true;
        for (arg, of) in args.iter().zip(types) {
            if !self.types.assign(of, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, of);
                fits = false;
            }
        }
        match <Box<[Node; 2]>>::try_from(nodes) {
            Ok(operands) if fits => {
                let node = if name == operators::LOGICAL_AND { Node::And(operands) } else { Node::Or(operands) };
                (node, Type::Bool)
            }
            _ => wrong(),
        }
    }

    /// What upstream refuses before it runs: literals that are no durations, times or patterns.
    fn check_literals(&mut self, name: &str, args: &[&IdedExpr], all: &[&IdedExpr]) {
        let Some((arg, text)) = args.first().and_then(|arg| Some((*arg, literal_text(arg)?))) else { return };
        let valid = match name {
            "duration" => time::parse_duration(text).is_ok(),
            "timestamp" => time::parse_timestamp(text).is_ok(),
            "matches" | "find" | "findAll" => self.compile_pattern(text),
            _ => true,
        };
        if !valid && all.len() <= 2 {
            self.error(arg.id, format!("invalid {name} argument"));
        }
    }

    fn compile_pattern(&mut self, pattern: &str) -> bool {
        if self.patterns.contains_key(pattern) {
            return true;
        }
        let Ok(compiled) = library::regex::compile(pattern) else { return false };
        self.patterns.insert(pattern.to_owned(), compiled);
        true
    }

    fn call_node(&self, name: &str, overloads: Vec<&'static function::Overload>, mut args: Vec<Node>) -> Node {
        let building = match args.first() {
            Some(Node::Local(place)) if self.scope.get(*place).is_some_and(|(name, _)| name == ACCUMULATOR) => {
                Some(*place)
            }
            _ => None,
        };
        match (name, args.len(), building) {
            (operators::CONDITIONAL, 3, _) => {
                if let Ok(parts) = <Box<[Node; 3]>>::try_from(args) {
                    return Node::Conditional(parts);
                }
                return Node::Const(CelValue::Null);
            }
            (operators::NOT_STRICTLY_FALSE, 1, _) => {
                return Node::NotStrictlyFalse(Box::new(args.swap_remove(0)));
            }
            (operators::INDEX | operators::OPT_INDEX, 2, _) => {
                let (key, operand) = (Box::new(args.swap_remove(1)), Box::new(args.swap_remove(0)));
                return Node::Index { operand, key, optional: name == operators::OPT_INDEX };
            }
            (operators::ADD, 2, Some(accumulator)) => match args.pop() {
                Some(Node::List(mut items)) if items.len() == 1 && !items[0].1 => {
                    let item = Box::new(items.swap_remove(0).0);
                    return Node::Append { accumulator, item, cost: LIST_CREATE + 2 };
                }
                Some(Node::Const(CelValue::List(list))) if list.len() == 1 => {
                    if let Some(Ok(item)) = list.get(0) {
                        return Node::Append { accumulator, item: Box::new(Node::Const(item)), cost: 2 };
                    }
                }
                Some(other) => args.push(other),
                None => {}
            },
            (operators::IN, 2, _) if matches!(args.get(1), Some(Node::Const(CelValue::List(_)))) => {
                if let (Some(Node::Const(CelValue::List(list))), Some(item)) = (args.pop(), args.pop()) {
                    return Node::Membership { item: Box::new(item), list };
                }
            }
            (MAP_INSERT, 2 | 3, Some(accumulator)) => {
                args.remove(0);
                return Node::Insert { accumulator, args };
            }
            _ => {}
        }
        converted(name, &overloads, &args).unwrap_or(Node::Call { overloads, args })
    }

    fn list(&mut self, list: &ListExpr) -> Checked {
        let mut items = Vec::with_capacity(list.elements.len());
        let mut of: Option<Type> = None;
        for (index, item) in list.elements.iter().enumerate() {
            let optional = list.optional_indices.contains(&index);
            let (node, item_type) = self.check(item);
            let item_type = if optional { self.unwrap_optional(item.id, &item_type) } else { item_type };
            of = Some(self.join(item.id, of, item_type));
            items.push((node, optional));
        }
        let of = of.unwrap_or_else(|| self.types.fresh());
        let constants: Option<Vec<CelValue<'static>>> =
            items.iter().map(|(item, optional)| constant(item).filter(|_| !optional)).collect();
        let node = match constants {
            Some(items) => Node::Const(CelValue::list(items)),
            None => Node::List(items),
        };
        (node, Type::list(of))
    }

    fn unwrap_optional(&mut self, id: u64, of: &Type) -> Type {
        match self.types.resolve(of, false) {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn => Type::Dyn,
            other => self.mismatch(id, &Type::optional(other.clone()), &other).1,
        }
    }

    /// The type of the items so far and one more: Kubernetes wants all items of a literal to be of one type.
    fn join(&mut self, id: u64, so_far: Option<Type>, next: Type) -> Type {
        let Some(so_far) = so_far else { return next };
        if self.types.assign(&so_far, &next) {
            if so_far.is_dyn() { so_far } else { next }
        } else if self.formats > 0 {
            Type::Dyn
        } else {
            self.mismatch(id, &so_far, &next).1
        }
    }

    fn map(&mut self, id: u64, entries: &[IdedEntryExpr]) -> Checked {
        let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
        let mut checked = Vec::with_capacity(entries.len());
        for entry in entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let (key, key_type) = self.check(&entry.key);
            keys = Some(self.join(entry.key.id, keys, key_type));
            let (value, value_type) = self.check(&entry.value);
            let optional = entry.optional;
            let value_type = if optional { self.unwrap_optional(entry.value.id, &value_type) } else { value_type };
            values = Some(self.join(entry.value.id, values, value_type));
            checked.push(Entry { key, value, optional });
        }
        let key = keys.unwrap_or_else(|| self.types.fresh());
        let value = values.unwrap_or_else(|| self.types.fresh());
        let of = Type::map(key, value);
        // A map whose keys and values are of one type doubles the type with every level.
        if !self.types.is_small(&of) {
            return self.error(id, "type is too large");
        }
        (constant_map(&checked).map_or(Node::Map(checked), Node::Const), of)
    }

    fn object(&mut self, id: u64, name: &str, entries: &[IdedEntryExpr]) -> Checked {
        let of = construct::named(name.trim_start_matches('.')).filter(|_| self.environment.constructs());
        let Some(of) = of else { return self.undeclared(id, name) };
        let mut fields = Vec::with_capacity(entries.len());
        for entry in entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let property = unescape(&field.field).unwrap_or_else(|| field.field.clone());
            let (value, value_type) = self.check(&field.value);
            let optional = field.optional;
            let value_type = if optional { self.unwrap_optional(field.value.id, &value_type) } else { value_type };
            match of.field(&property) {
                None => drop(self.error(entry.id, format!("undefined field '{}'", field.field))),
                Some(wanted) if !self.types.assign(&wanted, &value_type) => {
                    let given = self.types.resolve(&value_type, true);
                    let field = &field.field;
                    let message =
                        format!("expected type of field '{field}' is '{wanted}' but provided type is '{given}'");
                    self.error(entry.id, message);
                }
                Some(_) => {}
            }
            fields.push(Field { name: property.into(), value, optional });
        }
        (Node::Object { of: of.clone(), fields }, Type::Object(of))
    }

    fn comprehension(&mut self, id: u64, from: &ComprehensionExpr) -> Checked {
        let (range, range_type) = self.check(&from.iter_range);
        let (init, init_type) = self.check(&from.accu_init);
        let range_type = self.types.resolve(&range_type, false);
        let two = from.iter_var2.is_some();
        let (first, second) = match &range_type {
            Type::List(list) if two => (Type::Int, list.item.clone()),
            Type::List(list) => (list.item.clone(), Type::Error),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.types.assign(&Type::Dyn, &range_type);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.error(from.iter_range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let accumulator = self.scope.len();
        self.scope.push((from.accu_var.clone(), init_type.clone()));
        self.scope.push((from.iter_var.clone(), first));
        if let Some(name) = &from.iter_var2 {
            self.scope.push((name.clone(), second));
        }
        let (condition, condition_type) = self.check(&from.loop_cond);
        if !self.types.assign(&condition_type, &Type::Bool) {
            self.mismatch(from.loop_cond.id, &Type::Bool, &condition_type);
        }
        let (step, step_type) = self.check(&from.loop_step);
        if !self.types.assign(&step_type, &init_type) {
            self.mismatch(id, &init_type, &step_type);
        }
        self.scope.truncate(accumulator + 1);
        let (result, result_type) = self.check(&from.result);
        self.scope.truncate(accumulator);
        let fold = Fold { range, accumulator, init, two, condition, step, result };
        (Node::Fold(Box::new(fold)), self.types.resolve(&result_type, false))
    }
}

/// The functions that cel-go calls while it plans, if their argument is a literal.
const CONVERSIONS: [&str; 10] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

/// The value of a conversion of a literal.
fn converted(name: &str, overloads: &[&'static function::Overload], args: &[Node]) -> Option<Node> {
    let [Node::Const(literal)] = args else { return None };
    let args = [literal.clone()];
    let overload = overloads.iter().find(|overload| CONVERSIONS.contains(&name) && overload.accepts(&args))?;
    let mut context = function::Context { budget: &mut Budget::default(), patterns: &HashMap::new(), made: &mut None };
    (overload.call)(&mut context, &args).ok().map(Node::Const)
}

fn literal_value(literal: &LiteralValue) -> Checked {
    let (value, of) = match literal {
        LiteralValue::Boolean(value) => (CelValue::Bool(*value.inner()), Type::Bool),
        LiteralValue::Bytes(value) => (CelValue::Bytes(value.inner().into()), Type::Bytes),
        LiteralValue::Double(value) => (CelValue::Double(*value.inner()), Type::Double),
        LiteralValue::Int(value) => (CelValue::Int(*value.inner()), Type::Int),
        LiteralValue::Null => (CelValue::Null, Type::Null),
        LiteralValue::String(value) => (CelValue::string(value.inner()), Type::String),
        LiteralValue::UInt(value) => (CelValue::Uint(*value.inner()), Type::Uint),
    };
    (Node::Const(value), of)
}

fn literal_text(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// `a.b.c` as a name.
fn qualified_name(expr: &IdedExpr) -> Option<String> {
    let mut parts = Vec::new();
    let mut at = &expr.expr;
    loop {
        match at {
            Expr::Ident(name) => {
                parts.push(name.as_str());
                parts.reverse();
                return Some(parts.join("."));
            }
            Expr::Select(select) if !select.test => {
                parts.push(select.field.as_str());
                at = &select.operand.expr;
            }
            _ => return None,
        }
    }
}

fn constant(node: &Node) -> Option<CelValue<'static>> {
    if let Node::Const(value) = node { Some(value.clone()) } else { None }
}

fn constant_map(entries: &[Entry]) -> Option<CelValue<'static>> {
    let mut map = std::collections::BTreeMap::new();
    for entry in entries.iter() {
        let key = Key::new(&constant(&entry.key)?)?;
        let value = constant(&entry.value).filter(|_| !entry.optional)?;
        if map.insert(key, value).is_some() {
            return None;
        }
    }
    Some(CelValue::Map(Map::Made(Arc::new(map))))
}
