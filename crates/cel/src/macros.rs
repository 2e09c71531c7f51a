//! The macros that Kubernetes has beside the standard ones: two-variable comprehensions, and those of optional values
//! and sorted lists.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators};
use cel::parser::{Macro, MacroExprHelper, ParseError};

/// The variable that a comprehension builds its result in.
pub(crate) const ACCUMULATOR: &str = "@result";
/// Adds an entry, or those of a map, to a map; an error if a key is there.
pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";
/// Sorts a list by a second list of keys.
pub(crate) const SORT_BY: &str = "@sortByAssociatedKeys";
/// A loop variable that no expression can name.
const UNUSED: &str = "#unused";
/// What a macro evaluates once and uses twice.
const TARGET: &str = "@target";

type Arguments = Vec<IdedExpr>;
type Expansion = Result<Option<IdedExpr>, ParseError>;

pub(crate) fn kubernetes() -> Vec<Macro> {
    let mut macros = vec![
        Macro::receiver("optMap", 2, |make, target, args| optional_map(make, target, args, true)),
        Macro::receiver("optFlatMap", 2, |make, target, args| optional_map(make, target, args, false)),
        Macro::receiver("sortBy", 2, sort_by),
    ];
    for (name, build) in
        [("all", all as Build), ("exists", exists), ("existsOne", exists_one), ("exists_one", exists_one)]
    {
        macros.push(two_variables(name, 3, build));
    }
    for (name, build) in
        [("transformList", to_list as Build), ("transformMap", to_map), ("transformMapEntry", to_entries)]
    {
        macros.push(two_variables(name, 3, build));
        macros.push(two_variables(name, 4, build));
    }
    macros
}

/// What a comprehension starts with, while what it goes on, what each step makes and what comes out.
struct Loop {
    init: IdedExpr,
    condition: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

/// Makes the loop from the name of the first variable and the arguments behind the variables.
type Build = fn(&mut MacroExprHelper<'_>, &str, Arguments) -> Option<Loop>;

fn two_variables(name: &'static str, arguments: usize, build: Build) -> Macro {
    Macro::receiver(name, arguments, move |make, target, args| {
        if target.is_none() || args.len() < 3 {
            return Ok(None);
        }
        let mut args = std::mem::take(args);
        let rest = args.split_off(2);
        let names = [variable(make, &args[0])?, variable(make, &args[1])?];
        if names[0] == names[1] {
            return Err(make.new_error(args[1].id, format!("duplicate variable name: {}", names[0])));
        }
        let (Some(range), Some(parts)) = (target.take(), build(make, &names[0], rest)) else { return Ok(None) };
        let [first, second] = names;
        Ok(Some(fold(make, range, (first, Some(second)), ACCUMULATOR, parts)))
    })
}

fn fold(
    make: &mut MacroExprHelper<'_>,
    range: IdedExpr,
    (first, second): (String, Option<String>),
    accumulator: &str,
    parts: Loop,
) -> IdedExpr {
    make.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: first,
        iter_var2: second,
        accu_var: accumulator.to_owned(),
        accu_init: parts.init,
        loop_cond: parts.condition,
        loop_step: parts.step,
        result: parts.result,
    })))
}

fn variable(make: &MacroExprHelper<'_>, expr: &IdedExpr) -> Result<String, ParseError> {
    match &expr.expr {
        Expr::Ident(name) if name == ACCUMULATOR => {
            Err(make.new_error(expr.id, "iteration variable overwrites accumulator variable"))
        }
        Expr::Ident(name) => Ok(name.clone()),
        _ => Err(make.new_error(expr.id, "argument must be a simple name")),
    }
}

fn call(make: &mut MacroExprHelper<'_>, name: &str, args: Arguments) -> IdedExpr {
    make.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
}

fn member(make: &mut MacroExprHelper<'_>, target: IdedExpr, name: &str) -> IdedExpr {
    let target = Some(Box::new(target));
    make.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target, args: Vec::new() }))
}

fn name(make: &mut MacroExprHelper<'_>, name: &str) -> IdedExpr {
    make.next_expr(Expr::Ident(name.to_owned()))
}

fn truth(make: &mut MacroExprHelper<'_>, value: bool) -> IdedExpr {
    make.next_expr(Expr::Literal(LiteralValue::Boolean(value.into())))
}

fn number(make: &mut MacroExprHelper<'_>, value: i64) -> IdedExpr {
    make.next_expr(Expr::Literal(LiteralValue::Int(value.into())))
}

fn all(make: &mut MacroExprHelper<'_>, _: &str, mut args: Arguments) -> Option<Loop> {
    let so_far = name(make, ACCUMULATOR);
    let condition = call(make, operators::NOT_STRICTLY_FALSE, vec![so_far]);
    let args = vec![name(make, ACCUMULATOR), args.pop()?];
    let step = call(make, operators::LOGICAL_AND, args);
    Some(Loop { init: truth(make, true), condition, step, result: name(make, ACCUMULATOR) })
}

fn exists(make: &mut MacroExprHelper<'_>, _: &str, mut args: Arguments) -> Option<Loop> {
    let so_far = name(make, ACCUMULATOR);
    let negated = call(make, operators::LOGICAL_NOT, vec![so_far]);
    let condition = call(make, operators::NOT_STRICTLY_FALSE, vec![negated]);
    let args = vec![name(make, ACCUMULATOR), args.pop()?];
    let step = call(make, operators::LOGICAL_OR, args);
    Some(Loop { init: truth(make, false), condition, step, result: name(make, ACCUMULATOR) })
}

fn exists_one(make: &mut MacroExprHelper<'_>, _: &str, mut args: Arguments) -> Option<Loop> {
    let add = vec![name(make, ACCUMULATOR), number(make, 1)];
    let step = call(make, operators::ADD, add);
    let step = when(make, args.pop(), step);
    let compare = vec![name(make, ACCUMULATOR), number(make, 1)];
    let result = call(make, operators::EQUALS, compare);
    Some(Loop { init: number(make, 0), condition: truth(make, true), step, result })
}

/// The step, if a filter is given and lets it.
fn when(make: &mut MacroExprHelper<'_>, filter: Option<IdedExpr>, step: IdedExpr) -> IdedExpr {
    let Some(filter) = filter else { return step };
    let unchanged = name(make, ACCUMULATOR);
    call(make, operators::CONDITIONAL, vec![filter, step, unchanged])
}

fn to_list(make: &mut MacroExprHelper<'_>, _: &str, mut args: Arguments) -> Option<Loop> {
    let item = vec![args.pop()?];
    let item = make.next_expr(Expr::List(ListExpr::new(item)));
    let add = vec![name(make, ACCUMULATOR), item];
    let step = call(make, operators::ADD, add);
    let step = when(make, args.pop(), step);
    let init = make.next_expr(Expr::List(ListExpr::new(Vec::new())));
    Some(Loop { init, condition: truth(make, true), step, result: name(make, ACCUMULATOR) })
}

fn to_map(make: &mut MacroExprHelper<'_>, first: &str, mut args: Arguments) -> Option<Loop> {
    let value = args.pop()?;
    let insert = vec![name(make, ACCUMULATOR), name(make, first), value];
    insert_into_map(make, insert, args)
}

fn to_entries(make: &mut MacroExprHelper<'_>, _: &str, mut args: Arguments) -> Option<Loop> {
    let entries = args.pop()?;
    let insert = vec![name(make, ACCUMULATOR), entries];
    insert_into_map(make, insert, args)
}

fn insert_into_map(make: &mut MacroExprHelper<'_>, insert: Arguments, mut rest: Arguments) -> Option<Loop> {
    let step = call(make, MAP_INSERT, insert);
    let step = when(make, rest.pop(), step);
    let init = make.next_expr(Expr::Map(MapExpr { entries: Vec::new() }));
    Some(Loop { init, condition: truth(make, true), step, result: name(make, ACCUMULATOR) })
}

/// Evaluates `value` once and calls it `bound` in `body`.
fn bind(make: &mut MacroExprHelper<'_>, bound: &str, value: IdedExpr, body: IdedExpr) -> IdedExpr {
    let range = make.next_expr(Expr::List(ListExpr::new(Vec::new())));
    let parts = Loop { init: value, condition: truth(make, false), step: name(make, bound), result: body };
    fold(make, range, (UNUSED.to_owned(), None), bound, parts)
}

/// `target.optMap(v, e)`: `target.hasValue() ? optional.of(e) : optional.none()` with the value as `v`. The target
/// is bound, not repeated as upstream does: a chain of these would double with every link.
fn optional_map(
    make: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Arguments,
    wrap: bool,
) -> Expansion {
    if target.is_none() || args.len() != 2 {
        return Ok(None);
    }
    let bound = variable(make, &args[0])?;
    let (Some(target), Some(body)) = (target.take(), args.pop()) else { return Ok(None) };
    let (asked, taken) = (name(make, TARGET), name(make, TARGET));
    let has_value = member(make, asked, "hasValue");
    let value = member(make, taken, "value");
    let mut mapped = bind(make, &bound, value, body);
    if wrap {
        mapped = call(make, "optional.of", vec![mapped]);
    }
    let none = call(make, "optional.none", Vec::new());
    let choice = call(make, operators::CONDITIONAL, vec![has_value, mapped, none]);
    Ok(Some(bind(make, TARGET, target, choice)))
}

/// `target.sortBy(v, key)`: sorts by the list that `target.map(v, key)` makes.
fn sort_by(make: &mut MacroExprHelper<'_>, target: &mut Option<IdedExpr>, args: &mut Arguments) -> Expansion {
    if target.is_none() || args.len() != 2 {
        return Ok(None);
    }
    let bound = variable(make, &args[0])?;
    let (Some(target), Some(key)) = (target.take(), args.pop()) else { return Ok(None) };
    let Some(parts) = to_list(make, &bound, vec![key]) else { return Ok(None) };
    let range = name(make, TARGET);
    let keys = fold(make, range, (bound, None), ACCUMULATOR, parts);
    let sorted = Some(Box::new(name(make, TARGET)));
    let sorted =
        make.next_expr(Expr::Call(CallExpr { func_name: SORT_BY.to_owned(), target: sorted, args: vec![keys] }));
    Ok(Some(bind(make, TARGET, target, sorted)))
}
