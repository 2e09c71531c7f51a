//! The evaluator: a walk over the checked expression that counts what it costs as cel-go does.

use std::collections::{BTreeMap, HashMap};
use std::mem::size_of;
use std::sync::Arc;

use regex::Regex;

use crate::budget::{Budget, LIST_CREATE, MAP_CREATE, OBJECT_CREATE};
use crate::environment::Activation;
use crate::error::EvalError;
use crate::function::{Context, Cost, Overload};
use crate::node::{Entry, Field, Fold, Node, Select};
use crate::types::TypeSource;
use crate::value::{CelValue, Key, List, Map, Text};

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// One evaluation.
pub(crate) struct Evaluator<'e, 'a> {
    pub activation: &'e Activation<'a>,
    pub budget: &'e mut Budget,
    pub patterns: &'e HashMap<String, Regex>,
    /// The last pattern that was not written out in the expression.
    pub made: Option<(String, Regex)>,
    /// Accumulators and variables of the comprehensions around the place. `all` and `exists` go on after an error.
    pub stack: Vec<Value<'a>>,
}

impl<'a> Evaluator<'_, 'a> {
    pub fn eval(&mut self, node: &Node) -> Value<'a> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Variable(name) => {
                self.budget.spend(1)?;
                self.activation.value(name, self.budget)
            }
            Node::Local(place) => {
                self.budget.spend(1)?;
                self.stack.get(*place).cloned().unwrap_or_else(|| Err(EvalError::no_such_overload()))
            }
            Node::Select(select) => self.select(select),
            Node::Index { operand, key, optional } => self.index(operand, key, *optional),
            Node::And(operands) => self.logical(operands, false),
            Node::Or(operands) => self.logical(operands, true),
            Node::Conditional(parts) => match self.eval(&parts[0])? {
                CelValue::Bool(true) => self.eval(&parts[1]),
                CelValue::Bool(false) => self.eval(&parts[2]),
                _ => Err(EvalError::no_such_overload()),
            },
            Node::NotStrictlyFalse(operand) => {
                let value = self.eval(operand);
                self.budget.spend(1)?;
                match value {
                    Err(error) if error.is_fatal() => Err(error),
                    value => Ok(CelValue::Bool(!matches!(value, Ok(CelValue::Bool(false))))),
                }
            }
            Node::Call { overloads, args } => self.call(overloads, args),
            Node::Membership { item, list } => {
                let item = self.eval(item)?;
                let found = crate::value::contains(list, &item, self.budget)?;
                Ok(CelValue::Bool(found))
            }
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Object { of, fields } => self.object(of, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Append { accumulator, item, cost } => self.append(*accumulator, item, *cost),
            Node::Insert { accumulator, args } => self.insert(*accumulator, args),
        }
    }

    /// `&&` and `||`: one operand that decides hides an error of the other.
    fn logical(&mut self, operands: &[Node; 2], decisive: bool) -> Value<'a> {
        let first = self.eval(&operands[0]);
        match first {
            Ok(CelValue::Bool(value)) if value == decisive => return Ok(CelValue::Bool(decisive)),
            Err(error) if error.is_fatal() => return Err(error),
            _ => {}
        }
        match (first, self.eval(&operands[1])) {
            (_, Ok(CelValue::Bool(value))) if value == decisive => Ok(CelValue::Bool(decisive)),
            (_, Err(error)) if error.is_fatal() => Err(error),
            (Err(error), _) => Err(error),
            (Ok(CelValue::Bool(_)), second @ (Ok(CelValue::Bool(_)) | Err(_))) => second,
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn select(&mut self, select: &Select) -> Value<'a> {
        let operand = self.eval(&select.operand)?;
        if !select.test {
            self.budget.spend(1)?;
        }
        let (operand, optional) = match operand {
            CelValue::Optional(None) if select.test => return Ok(CelValue::Bool(false)),
            CelValue::Optional(None) => return Ok(CelValue::none()),
            CelValue::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, select.optional),
        };
        let CelValue::Map(map) = operand else { return Err(EvalError::no_such_overload()) };
        let name = match (&select.property, map.object_type()) {
            (Some(property), Some(_)) => property.clone(),
            _ => select.field.clone(),
        };
        let key = Key::String(Text::Owned(name));
        if select.test {
            return Ok(CelValue::Bool(map.contains(&key)));
        }
        found(map.get(&key), optional, || missing(&key))
    }

    fn index(&mut self, operand: &Node, key: &Node, optional: bool) -> Value<'a> {
        let operand = self.eval(operand)?;
        let key = self.eval(key)?;
        self.budget.spend(1)?;
        let (operand, optional) = match operand {
            CelValue::Optional(None) => return Ok(CelValue::none()),
            CelValue::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, optional),
        };
        match operand {
            CelValue::Map(map) => {
                let key = Key::new(&key).ok_or_else(|| EvalError::new(format!("no such key: {}", key.type_name())))?;
                found(map.get(&key), optional, || missing(&key))
            }
            CelValue::List(list) => {
                let index = match key {
                    CelValue::Int(index) => index,
                    CelValue::Uint(index) => i64::try_from(index).unwrap_or(i64::MAX),
                    CelValue::Double(index) if index.fract() == 0.0 => index as i64,
                    other => {
                        let message = format!("unsupported index type '{}' in list", other.type_name());
                        return Err(EvalError::new(message));
                    }
                };
                let item = usize::try_from(index).ok().and_then(|index| list.get(index));
                found(item, optional, || EvalError::new(format!("index out of bounds: {index}")))
            }
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn call(&mut self, overloads: &[&'static Overload], args: &[Node]) -> Value<'a> {
        let args = args.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
        let Some(overload) = overloads.iter().find(|overload| overload.accepts(&args)) else {
            // Upstream counts a call of what is no function, too.
            self.budget.spend(1)?;
            return Err(EvalError::no_such_overload());
        };
        self.budget.spend(overload.cost(&args))?;
        if let Cost::Deep = overload.cost {
            let cost = depth_cost(&args[0], self.budget)?;
            self.budget.spend(cost)?;
        }
        let mut context = Context { budget: self.budget, patterns: self.patterns, made: &mut self.made };
        let value = (overload.call)(&mut context, &args)?;
        if let Cost::Result(factor) = overload.cost {
            self.budget.spend(crate::budget::traversal(value.cost_size(), factor))?;
        }
        Ok(value)
    }

    fn list(&mut self, items: &[(Node, bool)]) -> Value<'a> {
        self.budget.allocate(items.len() * size_of::<CelValue<'a>>())?;
        let mut made = Vec::with_capacity(items.len());
        for (item, optional) in items {
            let value = self.eval(item)?;
            made.extend(if *optional { present(&value)? } else { Some(value) });
        }
        self.budget.spend(LIST_CREATE)?;
        Ok(CelValue::list(made))
    }

    fn map(&mut self, entries: &[Entry]) -> Value<'a> {
        self.budget.allocate(entries.len() * 2 * size_of::<CelValue<'a>>())?;
        let mut made = BTreeMap::new();
        for entry in entries {
            let key = map_key(&self.eval(&entry.key)?)?;
            let value = self.eval(&entry.value)?;
            if let Some(value) = if entry.optional { present(&value)? } else { Some(value) } {
                add_entry(&mut made, key, value)?;
            }
        }
        self.budget.spend(MAP_CREATE)?;
        Ok(CelValue::Map(Map::Made(Arc::new(made))))
    }

    fn object(&mut self, of: &Arc<dyn TypeSource>, fields: &[Field]) -> Value<'a> {
        self.budget.allocate(fields.len() * 2 * size_of::<CelValue<'a>>())?;
        let mut made = BTreeMap::new();
        for field in fields {
            let value = self.eval(&field.value)?;
            if let Some(value) = if field.optional { present(&value)? } else { Some(value) } {
                made.insert(Key::String(Text::Owned(field.name.clone())), value);
            }
        }
        self.budget.spend(OBJECT_CREATE)?;
        Ok(CelValue::Map(Map::Object(of.clone(), Arc::new(made))))
    }

    fn fold(&mut self, fold: &Fold) -> Value<'a> {
        let range = self.eval(&fold.range)?;
        let init = self.eval(&fold.init)?;
        self.stack.truncate(fold.accumulator);
        self.stack.push(Ok(init));
        match range {
            CelValue::List(list) => {
                for index in 0..list.len() {
                    let Some(item) = list.get(index) else { break };
                    let variables =
                        if fold.two { [Ok(CelValue::Int(index as i64)), item] } else { [item, Ok(CelValue::Null)] };
                    if !self.step(fold, variables)? {
                        break;
                    }
                }
            }
            CelValue::Map(map) => {
                for key in map.keys() {
                    let value = if fold.two { map.get(&key) } else { None };
                    if !self.step(fold, [Ok(key.value()), value.unwrap_or(Ok(CelValue::Null))])? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::no_such_overload()),
        }
        let result = self.eval(&fold.result);
        self.stack.truncate(fold.accumulator);
        result
    }

    /// One round with the loop variables; false if the loop ends.
    fn step(&mut self, fold: &Fold, variables: [Value<'a>; 2]) -> Result<bool, EvalError> {
        self.budget.work(1)?;
        let [first, second] = variables;
        self.stack.truncate(fold.accumulator + 1);
        self.stack.push(first);
        if fold.two {
            self.stack.push(second);
        }
        let goes_on = match self.eval(&fold.condition)? {
            CelValue::Bool(goes_on) => goes_on,
            _ => return Err(EvalError::no_such_overload()),
        };
        if goes_on {
            let value = self.eval(&fold.step);
            self.stack.truncate(fold.accumulator + 1);
            match value {
                Err(error) if error.is_fatal() => return Err(error),
                value => self.stack[fold.accumulator] = value,
            }
        } else {
            self.stack.truncate(fold.accumulator + 1);
        }
        Ok(goes_on)
    }

    /// Takes the accumulator off the stack, so that what only it has can be changed in place.
    fn take(&mut self, accumulator: usize) -> Value<'a> {
        match self.stack.get_mut(accumulator) {
            Some(place) => std::mem::replace(place, Ok(CelValue::Null)),
            None => Err(EvalError::no_such_overload()),
        }
    }

    fn append(&mut self, accumulator: usize, item: &Node, cost: u64) -> Value<'a> {
        let item = self.eval(item)?;
        self.budget.spend(cost)?;
        self.budget.allocate(size_of::<CelValue<'a>>())?;
        let CelValue::List(List::Made(mut list)) = self.take(accumulator)? else {
            return Err(EvalError::no_such_overload());
        };
        Arc::make_mut(&mut list).push(item);
        Ok(CelValue::List(List::Made(list)))
    }

    fn insert(&mut self, accumulator: usize, args: &[Node]) -> Value<'a> {
        let args = args.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
        self.budget.spend(2)?;
        let CelValue::Map(Map::Made(mut map)) = self.take(accumulator)? else {
            return Err(EvalError::no_such_overload());
        };
        let made = Arc::make_mut(&mut map);
        match args.as_slice() {
            [key, value] => self.insert_entry(made, map_key(key)?, value.clone())?,
            [CelValue::Map(entries)] => {
                for key in entries.keys() {
                    if let Some(value) = entries.get(&key) {
                        self.insert_entry(made, key, value?)?;
                    }
                }
            }
            _ => return Err(EvalError::no_such_overload()),
        }
        Ok(CelValue::Map(Map::Made(map)))
    }

    fn insert_entry(
        &mut self,
        map: &mut BTreeMap<Key<'a>, CelValue<'a>>,
        key: Key<'a>,
        value: CelValue<'a>,
    ) -> Result<(), EvalError> {
        self.budget.allocate(2 * size_of::<CelValue<'a>>())?;
        if map.contains_key(&key) {
            return Err(EvalError::new(format!("insert failed: key {} already exists", print_key(&key))));
        }
        map.insert(key, value);
        Ok(())
    }
}

fn found<'a>(value: Option<Value<'a>>, optional: bool, missing: impl FnOnce() -> EvalError) -> Value<'a> {
    match (value, optional) {
        (Some(value), false) => value,
        (Some(value), true) => value.map(CelValue::some),
        (None, true) => Ok(CelValue::none()),
        (None, false) => Err(missing()),
    }
}

fn print_key(key: &Key<'_>) -> String {
    match key {
        Key::Bool(value) => value.to_string(),
        Key::Int(value) => value.to_string(),
        Key::Uint(value) => value.to_string(),
        Key::String(text) => text.to_string(),
    }
}

fn missing(key: &Key<'_>) -> EvalError {
    EvalError::new(format!("no such key: {}", print_key(key)))
}

fn map_key<'a>(value: &CelValue<'a>) -> Result<Key<'a>, EvalError> {
    match value {
        CelValue::Double(_) => Err(EvalError::new("unsupported key type: double")),
        other => Key::new(other).ok_or_else(|| EvalError::new(format!("unsupported key type: {}", other.type_name()))),
    }
}

fn add_entry<'a>(
    map: &mut BTreeMap<Key<'a>, CelValue<'a>>,
    key: Key<'a>,
    value: CelValue<'a>,
) -> Result<(), EvalError> {
    if map.contains_key(&key) {
        return Err(EvalError::new(format!("Failed with repeated key: {}", print_key(&key))));
    }
    map.insert(key, value);
    Ok(())
}

/// What an optional item of a literal adds.
fn present<'a>(value: &CelValue<'a>) -> Result<Option<CelValue<'a>>, EvalError> {
    match value {
        CelValue::Optional(inner) => Ok(inner.as_deref().cloned()),
        other => {
            let of = other.type_name();
            Err(EvalError::new(format!("cannot initialize optional list element from non-optional value {of}")))
        }
    }
}

/// The cost of walking over everything in a value.
fn depth_cost(value: &CelValue<'_>, budget: &mut Budget) -> Result<u64, EvalError> {
    budget.work(1)?;
    Ok(match value {
        CelValue::String(text) => (text.len() as f64 * crate::budget::TRAVERSAL) as u64,
        CelValue::Bytes(bytes) => (bytes.len() as f64 * crate::budget::TRAVERSAL) as u64,
        CelValue::List(list) => {
            let mut cost = 0_u64;
            for item in list.iter() {
                cost = cost.saturating_add(depth_cost(&item?, budget)?);
            }
            cost
        }
        CelValue::Map(map) => {
            let mut cost = 0_u64;
            for key in map.keys() {
                cost = cost.saturating_add(depth_cost(&key.value(), budget)?);
                if let Some(value) = map.get(&key) {
                    cost = cost.saturating_add(depth_cost(&value?, budget)?);
                }
            }
            cost
        }
        _ => 1,
    })
}
