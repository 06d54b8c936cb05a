//! What is wrong in a ceremony file, and where.

use std::fmt;
use std::ops::Range;

/// One thing wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    file: String,
    line: usize,
    column: usize,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Collects every fault instead of stopping at the first: a ceremony is a meeting of people.
pub(super) struct Checks<'a> {
    file: String,
    text: &'a str,
    faults: Vec<Fault>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(file: String, text: &'a str) -> Self {
        Self { file, text, faults: Vec::new() }
    }

    /// Adds a fault at a byte range of the text; lines and columns count from 1, columns in characters.
    pub(super) fn fault(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start.min(self.text.len())).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.faults.push(Fault { file: self.file.clone(), line, column, message: message.into() });
    }

    /// The value, or its error as a fault.
    pub(super) fn take<T, E: fmt::Display>(&mut self, span: Range<usize>, value: Result<T, E>) -> Option<T> {
        value.map_err(|e| self.fault(span, e.to_string())).ok()
    }

    /// Adds a fault when `bad`.
    pub(super) fn refuse_if(&mut self, bad: bool, span: Range<usize>, message: impl Into<String>) {
        if bad {
            self.fault(span, message);
        }
    }

    pub(super) fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort_by_key(|f| (f.line, f.column));
        self.faults
    }
}
