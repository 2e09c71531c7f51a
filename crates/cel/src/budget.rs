//! What evaluation may cost. The numbers are upstream's (`k8s.io/apiserver/pkg/apis/cel`).

use crate::error::EvalError;

/// The most that one evaluation of one expression may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The most that all rules of a custom resource, or all expressions of a policy binding, may cost on one object.
pub const RUNTIME_BUDGET: u64 = 10_000_000;
/// The most that the `matchConditions` of one webhook or policy may cost on one object.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;

pub(crate) const LIST_CREATE: u64 = 10;
pub(crate) const MAP_CREATE: u64 = 30;
pub(crate) const OBJECT_CREATE: u64 = 40;
/// Cost of walking over a string, for each code point.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// Cost of a pattern, for each code point of it and unit of the text.
pub(crate) const PATTERN: f64 = 0.25;

/// The most bytes that values made by one evaluation may have together. Cost alone does not bound memory: adding
/// a list costs 1, however long it is.
const MEMORY_LIMIT: usize = 64 << 20;
/// The most steps of comparing and printing values that one evaluation takes, in which no cost is counted.
const WORK_LIMIT: u64 = 5_000_000;
/// The most patterns that are compiled while expressions are evaluated on one object: a short one may take milliseconds,
/// whatever it is matched against.
const PATTERN_LIMIT: usize = 200;

/// What is left to spend on one object. One evaluation after the other draws on it.
#[derive(Clone, Debug)]
pub struct Budget {
    remaining: u64,
    spent: u64,
    limit: u64,
    memory: usize,
    work: u64,
    patterns: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(RUNTIME_BUDGET)
    }
}

impl Budget {
    /// A budget of `total` for one object, [`PER_CALL_LIMIT`] of it for each evaluation.
    pub fn new(total: u64) -> Self {
        Self { remaining: total, spent: 0, limit: PER_CALL_LIMIT, memory: 0, work: 0, patterns: 0 }
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// What the last evaluation cost.
    pub fn last_cost(&self) -> u64 {
        self.spent
    }

    /// The budget of an evaluation within another one: it draws on what is left, and may cost what one may.
    pub fn nested(&self) -> Self {
        Self::new(self.remaining)
    }

    /// Takes what evaluations within this one cost from what is left.
    pub fn absorb(&mut self, nested: &Self) {
        self.remaining = nested.remaining;
    }

    /// Begins an evaluation.
    pub(crate) fn begin(&mut self) {
        (self.spent, self.memory, self.work) = (0, 0, 0);
    }

    /// Takes what the evaluation cost from what is left, whether it succeeded or not.
    pub(crate) fn finish(&mut self) -> Result<(), EvalError> {
        let enough = self.spent <= self.remaining;
        self.remaining = self.remaining.saturating_sub(self.spent);
        if enough { Ok(()) } else { Err(EvalError::Budget) }
    }

    pub(crate) fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        // What is refused is not done, and so not paid for.
        self.spent = self.spent.saturating_add(cost).min(self.limit + 1);
        if self.spent > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    /// Counts `bytes` that a new value has, before they are allocated.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > MEMORY_LIMIT { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    /// Counts a pattern before it is compiled.
    pub(crate) fn pattern(&mut self) -> Result<(), EvalError> {
        self.patterns = self.patterns.saturating_add(1);
        if self.patterns > PATTERN_LIMIT { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    /// Counts steps that upstream takes without counting cost.
    pub(crate) fn work(&mut self, steps: usize) -> Result<(), EvalError> {
        self.work = self.work.saturating_add(steps as u64);
        if self.work > WORK_LIMIT { Err(EvalError::CostLimit) } else { Ok(()) }
    }
}

/// The cost of walking over `size` code points with `factor` each, rounded up.
pub(crate) fn traversal(size: usize, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// The cost of matching a pattern of one size against a text of another.
pub(crate) fn pattern(text: usize, pattern: usize) -> u64 {
    traversal(text.saturating_add(1), TRAVERSAL).saturating_mul(traversal(pattern, PATTERN))
}
