//! What is wrong in a policy file: exact position, the line with a caret, and the remedy.

use std::fmt;
use std::ops::Range;

/// One policy file as read: the name that messages use and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path or name for messages.
    pub name: String,
    /// The TOML text.
    pub text: String,
}

/// One thing to correct in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Width of the marked text in characters, at least 1, within its line.
    pub width: usize,
    /// The line of text.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// A problem at a byte range of `source`; ranges outside the text are clamped.
    pub fn at(source: &Source, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let text = &source.text;
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end.max(start));
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let source_line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let column = text.get(line_start..start).unwrap_or_default().chars().count();
        let marked = text.get(start..end).unwrap_or_default().lines().next().unwrap_or_default().chars().count();
        Self {
            file: source.name.clone(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            width: marked.max(1),
            source_line,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// A problem of the TOML itself: syntax, type, unknown or missing key.
    pub fn from_toml(source: &Source, error: &toml::de::Error) -> Self {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let remedy = match suggestion(&message) {
            Some(word) => format!("did you mean `{word}`?"),
            None if message.starts_with("unknown") => "remove it, or use one of the keys named above".to_owned(),
            None if message.starts_with("missing") => "add the key; 'sealwright policy schema' describes every key".to_owned(),
            None if message.starts_with("invalid type") => "write a value of the expected type".to_owned(),
            None => "correct the TOML (https://toml.io/en/v1.1.0)".to_owned(),
        };
        Self::at(source, error.span().unwrap_or(0..0), message, remedy)
    }
}

impl fmt::Display for Problem {
    /// Several lines: position and message, the source line, the caret, the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len();
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, " {} | {}", self.line, self.source_line)?;
        // Tabs stay tabs, so the caret stands under the text whatever the tab width.
        let pad: String = self.source_line.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, " {:gutter$} | {pad}{}", "", "^".repeat(self.width))?;
        write!(f, " {:gutter$} = {}", "", self.remedy)
    }
}

/// Gathers the problems of one profile.
pub(super) struct Findings<'a> {
    source: &'a Source,
    inherited: Vec<&'static str>,
    quiet: bool,
    found: Vec<Problem>,
}

impl<'a> Findings<'a> {
    /// Problems of a file; those of `inherited` sections are reported in the file that writes them.
    pub(super) fn new(source: &'a Source, inherited: Vec<&'static str>) -> Self {
        Self { source, inherited, quiet: false, found: Vec::new() }
    }

    /// What follows is about this section; `""` is the profile as a whole.
    pub(super) fn enter(&mut self, section: &str) {
        self.quiet = self.inherited.contains(&section);
    }

    /// Where to point for a section: its span, or the name's when it is inherited.
    pub(super) fn place(&self, section: &str, own: Option<Range<usize>>, name: Range<usize>) -> Range<usize> {
        own.filter(|_| !self.inherited.contains(&section)).unwrap_or(name)
    }

    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.quiet {
            self.found.push(Problem::at(self.source, span, message, remedy));
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.found
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// The expected word nearest to the unknown one in serde's "unknown field `x`, expected …".
fn suggestion(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    if !message.starts_with("unknown") {
        return None;
    }
    let near = quoted.map(|word| (distance(wrong, word), word)).min()?;
    (near.0 <= 2.max(wrong.len() / 4)).then(|| near.1.to_owned())
}

/// Levenshtein distance of two short keys.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let of = |v: &[usize], k: usize| v.get(k).copied().unwrap_or(usize::MAX - 1);
            next.push((of(&row, j) + usize::from(x != *y)).min(of(&row, j + 1) + 1).min(of(&next, j) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_carets_stand_under_the_text() {
        let source = Source { name: "a.toml".into(), text: "x = 1\ny = \"é\" # oops\n".into() };
        let p = Problem::at(&source, 10..14, "bad", "fix");
        assert_eq!((p.line, p.column, p.width), (2, 5, 3));
        assert_eq!(p.to_string(), "a.toml:2:5: bad\n 2 | y = \"é\" # oops\n   |     ^^^\n   = fix");
        let end = Problem::at(&source, 9999..99999, "bad", "fix");
        assert_eq!((end.line, end.column), (3, 1));
    }

    #[test]
    fn near_misses_are_suggested() {
        assert_eq!(suggestion("unknown field `algoritms`, expected one of `algorithms`, `x`").as_deref(), Some("algorithms"));
        assert_eq!(suggestion("unknown field `zzzzzz`, expected `algorithms`"), None);
    }
}
