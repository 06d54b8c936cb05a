//! Reads the sources as text and enforces what the compiler does not: the layer rule, invariant
//! K1, the single place that syncs, silence of the library, and the house's numbers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

/// What each layer of the library may import. A layer that is not listed is refused.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("durable", &[]),
    ("approval", &["types"]),
    ("x509", &["types", "durable"]),
    ("policy", &["types", "durable", "approval", "x509"]),
    ("artifact", &["types", "durable", "x509"]),
    ("log", &["types", "durable", "x509", "policy"]),
    ("store", &["types", "durable", "x509", "policy"]),
    ("token", &["types", "durable", "x509", "policy"]),
    ("device", &["types", "durable", "x509", "policy"]),
    ("ca", &["types", "durable", "approval", "x509", "policy", "artifact", "log", "store", "token", "device"]),
    ("config", &["types"]),
    ("api", &["types", "durable", "x509", "policy", "artifact", "log", "store", "token", "device", "ca", "config"]),
];

/// One word or mark of the source with its line, comments and literals left out.
#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

/// Splits Rust source into words and marks; comments, strings and characters vanish.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let start = i;
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            i = end_of_block_comment(&chars, i);
        } else if let Some(end) = end_of_literal(&chars, i) {
            i = end;
        } else if c.is_alphanumeric() || c == '_' {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            out.push(Token { text: chars[start..i].iter().collect(), line });
        } else {
            i += if c == ':' && at(i + 1) == ':' { 2 } else { 1 };
            if !c.is_whitespace() {
                out.push(Token { text: chars[start..i].iter().collect(), line });
            }
        }
        line += chars[start..i].iter().filter(|c| **c == '\n').count();
    }
    out
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) if depth == 1 => return i + 2,
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    i
}

/// End of a string, raw string or character that starts at `i`; a lifetime is none of them.
fn end_of_literal(chars: &[char], i: usize) -> Option<usize> {
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut j = i;
    while matches!(at(j), 'b' | 'c' | 'r') && j < i + 2 {
        j += 1;
    }
    let raw = (i..j).any(|k| at(k) == 'r');
    let hashes = if raw { (j..).take_while(|k| at(*k) == '#').count() } else { 0 };
    if at(j + hashes) == '"' {
        let mut k = j + hashes + 1;
        while k < chars.len() {
            if at(k) == '\\' && !raw {
                k += 2;
            } else if at(k) == '"' && (1..=hashes).all(|h| at(k + h) == '#') {
                return Some(k + 1 + hashes);
            } else {
                k += 1;
            }
        }
        return Some(k);
    }
    if at(j) == '\'' && !raw {
        if at(j + 1) == '\\' {
            return (j + 3..chars.len()).find(|k| at(*k) == '\'').map(|k| k + 1);
        }
        return (at(j + 2) == '\'').then_some(j + 3);
    }
    None
}

/// Module path of a library source, e.g. `x509/tbs.rs` → `[x509, tbs]`.
fn module_path(relative: &Path) -> Vec<String> {
    let mut parts: Vec<String> = relative.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|p| p == "mod" || p == "lib") {
        parts.pop();
    }
    parts
}

/// Top-level modules of this crate that the source names, with lines. Follows `crate::`,
/// `super::` out of nested modules, and braces.
fn imported_layers(source: &str, module: &[String]) -> Vec<Token> {
    let tokens = tokens(source);
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let (mut found, mut inline, mut depth) = (Vec::new(), Vec::new(), 0usize);
    for i in 0..tokens.len() {
        match text(i) {
            "{" => {
                depth += 1;
                if i >= 2 && text(i - 2) == "mod" {
                    inline.push(depth);
                }
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth = depth.saturating_sub(1);
            }
            "crate" if text(i + 1) == "::" => heads(&tokens, i + 2, &mut found),
            "crate" if text(i + 1) == "as" => found.push(Token { text: "*".into(), line: tokens[i].line }),
            "super" if text(i.wrapping_sub(1)) != "::" && text(i + 1) == "::" => {
                let supers = (0..).take_while(|n| text(i + 2 * n) == "super").count();
                if supers == module.len() + inline.len() {
                    heads(&tokens, i + 2 * supers, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// First word of each path of a use tree that starts at `i`.
fn heads(tokens: &[Token], i: usize, out: &mut Vec<Token>) {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    if text(i) != "{" {
        out.extend(tokens.get(i).cloned());
        return;
    }
    let (mut depth, mut k) = (0, i);
    while k < tokens.len() {
        match text(k) {
            "{" => depth += 1,
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 1 && (text(k) == "{" || text(k) == ",") && text(k + 1) != "}" {
            out.extend(tokens.get(k + 1).cloned());
        }
        k += 1;
    }
}

/// Broken layer rules of one library file; `relative` is its path below `src/`.
fn layer_violations(relative: &Path, source: &str) -> Vec<String> {
    let module = module_path(relative);
    let Some(own) = module.first() else { return Vec::new() };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == own) else {
        return vec![format!("{}: '{own}' is not in the table of layers; give it a place", relative.display())];
    };
    let fine = |name: &str| name == own || name == "self" || allowed.contains(&name);
    let bad = imported_layers(source, &module).into_iter().filter(|t| !fine(&t.text));
    bad.map(|t| format!("{}:{}: layer '{own}' must not import '{}'", relative.display(), t.line, t.text)).collect()
}

/// Broken rules that hold for every file: sizes, K1, the only fsync, silence.
fn house_violations(relative: &Path, source: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut add = |line: usize, what: String| out.push(format!("{}:{line}: {what}", relative.display()));
    let lines = source.lines().count();
    if lines > MAX_FILE_LINES {
        add(lines, format!("{lines} lines; at most {MAX_FILE_LINES} are allowed"));
    }
    let tokens = tokens(source);
    let library = !relative.starts_with("bin");
    for (i, token) in tokens.iter().enumerate() {
        let next = |n: usize| tokens.get(i + n).map_or("", |t| t.text.as_str());
        match token.text.as_str() {
            "cryptoki" | "cryptoki_sys" if !relative.starts_with("token") => add(token.line, "only token talks PKCS#11 (K1)".into()),
            "sync_all" | "sync_data" | "fsync" | "fdatasync" if relative != Path::new("durable.rs") => {
                add(token.line, "only durable syncs".into());
            }
            "println" | "print" | "eprintln" | "eprint" | "dbg" if library && next(1) == "!" => {
                add(token.line, "the library never prints".into())
            }
            "process" if library && next(1) == "::" && next(2) == "exit" => add(token.line, "the library never exits".into()),
            "include" if !library && next(1) == "!" => add(token.line, "binaries reach the library through its crate only".into()),
            "path" if !library && i >= 1 && tokens[i - 1].text == "[" && next(1) == "=" => {
                add(token.line, "binaries reach the library through its crate only".into());
            }
            "fn" => {
                if let Some((name, length)) = function_length(&tokens[i..]).filter(|(_, n)| *n > MAX_FUNCTION_LINES) {
                    add(token.line, format!("fn {name} has {length} lines; at most {MAX_FUNCTION_LINES} are allowed"));
                }
            }
            _ => {}
        }
    }
    out
}

/// Name and lines, from `fn` to the closing brace; `None` for declarations and fn pointers.
fn function_length(tokens: &[Token]) -> Option<(&str, usize)> {
    let name = tokens.get(1).filter(|t| t.text.starts_with(|c: char| c.is_alphabetic() || c == '_'))?;
    let (mut braces, mut brackets) = (0usize, 0usize);
    for token in tokens.get(2..)? {
        match token.text.as_str() {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            ";" if braces == 0 && brackets == 0 => return None,
            "{" => braces += 1,
            "}" if braces == 1 => return Some((&name.text, token.line + 1 - tokens[0].line)),
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn the_sources_keep_the_layers_and_the_house_style() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 15, "found only {} sources", files.len());
    let mut violations = BTreeSet::new();
    let mut imports = 0;
    for file in &files {
        let relative = file.strip_prefix(&src).unwrap();
        let source = std::fs::read_to_string(file).unwrap();
        violations.extend(house_violations(relative, &source));
        if !relative.starts_with("bin") {
            violations.extend(layer_violations(relative, &source));
            imports += imported_layers(&source, &module_path(relative)).len();
        }
    }
    assert!(imports >= 4, "the checker saw only {imports} imports, so it is blind");
    assert!(violations.is_empty(), "\n{}", violations.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_way_to_break_the_layers_is_seen() {
    let bad = [
        ("x509/tbs.rs", "use crate::policy::X;"),
        ("x509/tbs.rs", "use crate::{types::Serial, policy::X};"),
        ("x509/tbs.rs", "use crate::{types::{Serial, Validity}, ca};"),
        ("x509/tbs.rs", "fn f() -> crate::token::Key { todo!() }"),
        ("x509/tbs.rs", "use super::super::store::X;"),
        ("x509/mod.rs", "use super::store::X;"),
        ("types.rs", "use crate::durable;"),
        ("types.rs", "mod tests { use super::super::durable::append; }"),
        ("store/sqlite.rs", "use crate::log::Entry;"),
        ("policy/mod.rs", "use crate::artifact::Signed;"),
        ("ca/issue.rs", "use crate::api::Reply;"),
        ("ca/issue.rs", "use crate::*;"),
        ("ca/issue.rs", "use crate as root;"),
        ("surprise/mod.rs", ""),
    ];
    for (path, source) in bad {
        assert_eq!(layer_violations(Path::new(path), source).len(), 1, "{path}: {source}");
    }
    let good = [
        ("x509/tbs.rs", "use crate::types::Serial; use super::keys; // use crate::policy::X;\n/* crate::ca /* nested */ crate::ca */"),
        ("x509/tbs.rs", "mod tests { use super::super::keys::verify; use super::*; } const T: &str = r#\"\" crate::ca::x \"#;"),
        ("ca/issue.rs", "use crate::{store::{X, Y}, x509::tbs, types::Serial,}; fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }"),
        ("api/mod.rs", "use crate::ca; use crate::api::server;"),
    ];
    for (path, source) in good {
        assert_eq!(layer_violations(Path::new(path), source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn every_house_rule_can_fail() {
    let long_function = format!("fn f(a: [u8; 2]) {{\n{}}}\n", "a;\n".repeat(MAX_FUNCTION_LINES));
    let long_file = "\n".repeat(MAX_FILE_LINES + 1);
    let bad = [
        ("store/a.rs", "use cryptoki::context::Pkcs11;"),
        ("bin/sealwright/doctor.rs", "cryptoki::x();"),
        ("store/a.rs", "file.sync_all()?;"),
        ("log/a.rs", "rustix::fs::fsync(f)"),
        ("ca/a.rs", "println!(\"x\")"),
        ("ca/a.rs", "std::process::exit(1)"),
        ("bin/sealwright/main.rs", "#[path = \"../../ca/mod.rs\"] mod ca;"),
        ("bin/sealwright/main.rs", "include!(\"../../ca/mod.rs\");"),
        ("ca/a.rs", &long_function),
        ("ca/a.rs", &long_file),
    ];
    for (path, source) in bad {
        assert_eq!(house_violations(Path::new(path), source).len(), 1, "{path}: {source}");
    }
    let fine = "trait T { fn g(&self); }\nfn h(f: fn(u8) -> u8) { let s = \"cryptoki println! sync_all\"; }\n";
    assert!(house_violations(Path::new("ca/a.rs"), fine).is_empty());
    assert!(house_violations(Path::new("durable.rs"), "f.sync_all()").is_empty());
    assert!(house_violations(Path::new("token/pkcs11.rs"), "use cryptoki::x;").is_empty());
    assert!(house_violations(Path::new("bin/sealwright/a.rs"), "println!(\"x\")").is_empty());
}
