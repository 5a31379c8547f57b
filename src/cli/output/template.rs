//! kubectl's JSONPath templates: text, and expressions in braces, such as `{.items[*].metadata.name}`. Pure.
//!
//! The expressions are those of RFC 9535, evaluated by jsonpath-rust. kubectl's own notation is rewritten: names with `-` or
//! `/`, names with escaped dots (`.labels.app\.kubernetes\.io/name`), a missing `$`, `{"\n"}`, and `{range …}…{end}`.
//! Anything else is refused, and the error names the part.

use std::iter::Peekable;
use std::str::Chars;

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::{QueryRef, js_path_process};
use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// The values that an expression selects, separated by blanks.
    Values(Path),
    /// The parts between `{range PATH}` and `{end}`, for each value.
    Range(Path, Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
struct Path {
    /// Whether it starts at the whole result, even within a range.
    absolute: bool,
    query: JpQuery,
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Err(format!(
                "{text:?} has no expression in braces, such as {{.items[*].metadata.name}}"
            ));
        }
        let mut rest = text;
        let parts = parts(&mut rest, false)?;
        Ok(Self(parts))
    }
}

impl Template {
    /// The text for `value`. As in kubectl, a field that does not exist is empty, and no line feed is added.
    pub fn render(&self, value: &Value) -> String {
        let mut text = String::new();
        render(&self.0, value, value, &mut text);
        text
    }
}

fn render(parts: &[Part], root: &Value, current: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Values(path) => {
                let values: Vec<_> = path.select(root, current).into_iter().map(shown).collect();
                text.push_str(&values.join(" "));
            }
            Part::Range(path, parts) => {
                for value in path.select(root, current) {
                    render(parts, root, value, text);
                }
            }
        }
    }
}

impl Path {
    fn select<'v>(&self, root: &'v Value, current: &'v Value) -> Vec<&'v Value> {
        let from = if self.absolute { root } else { current };
        // A query of a path only fails if its result is no part of the value, which no path has.
        let found = js_path_process(&self.query, from).unwrap_or_default();
        found.into_iter().map(QueryRef::val).collect()
    }
}

/// A string without quotes, anything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Parses up to the end, or up to the `{end}` of a range.
fn parts(rest: &mut &str, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while let Some((literal, braced)) = rest.split_once('{') {
        if !literal.is_empty() {
            parts.push(Part::Text(literal.to_owned()));
        }
        let end = closing_brace(braced)
            .ok_or_else(|| format!("{{{braced}: the closing brace is missing"))?;
        let (action, after) = braced.split_at(end);
        *rest = after.strip_prefix('}').unwrap_or(after);
        let action = action.trim();
        match action.split_once(char::is_whitespace) {
            _ if action == "end" && in_range => return Ok(parts),
            _ if action == "end" => return Err("{end} without {range}".to_owned()),
            Some(("range", path)) => {
                let path = path_of(path.trim())?;
                parts.push(Part::Range(path, self::parts(rest, true)?));
            }
            _ if action.starts_with(['"', '\'']) => parts.push(Part::Text(unquoted(action)?)),
            _ => parts.push(Part::Values(path_of(action)?)),
        }
    }
    if in_range {
        return Err("{range} without {end}".to_owned());
    }
    if !rest.is_empty() {
        parts.push(Part::Text(std::mem::take(rest).to_owned()));
    }
    Ok(parts)
}

/// Position of the `}` that ends an expression; one in quotes does not.
fn closing_brace(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (_, '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// The text of a literal such as `"\t"`.
fn unquoted(literal: &str) -> Result<String, String> {
    let fault = || format!("{{{literal}}}: text must be in one pair of quotes");
    let mut chars = literal.chars();
    let quote = chars.next().ok_or_else(fault)?;
    let mut text = String::new();
    loop {
        match chars.next().ok_or_else(fault)? {
            '\\' => text.push(match chars.next().ok_or_else(fault)? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('"' | '\'' | '\\') => c,
                c => return Err(format!("{{{literal}}}: \\{c} is not supported")),
            }),
            c if c == quote && chars.as_str().is_empty() => return Ok(text),
            c if c == quote => return Err(fault()),
            c => text.push(c),
        }
    }
}

/// Parses an expression.
fn path_of(expression: &str) -> Result<Path, String> {
    let named = |why| format!("{{{expression}}}: {why}");
    let mut chars = expression.chars().peekable();
    let absolute = chars.peek() == Some(&'$');
    if chars.next_if(|c| matches!(c, '$' | '@')).is_none()
        && !matches!(chars.peek(), Some('.' | '['))
    {
        return Err(named("must begin with a dot".to_owned()));
    }
    let query = format!("${}", segments(&mut chars).map_err(named)?);
    let rest: String = chars.collect();
    if !rest.is_empty() {
        return Err(named(format!("{rest:?} is not supported")));
    }
    let query = parse_json_path(&query).map_err(|_| named("is not supported".to_owned()))?;
    Ok(Path { absolute, query })
}

/// Rewrites the segments of a path to RFC 9535, up to a character that cannot be part of one.
fn segments(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut query = String::new();
    loop {
        match chars.peek() {
            Some('.') => {
                chars.next();
                if chars.next_if_eq(&'.').is_some() {
                    query.push_str("..");
                }
                if chars.peek() == Some(&'[') {
                    continue;
                }
                match name(chars)?.as_str() {
                    // `{.}` is the current value.
                    "" if query.is_empty() && chars.peek().is_none() => {}
                    "" => return Err("a name is missing after a dot".to_owned()),
                    "*" => query.push_str("[*]"),
                    name => query.extend(["[", &quoted(name), "]"]),
                }
            }
            Some('[') => {
                chars.next();
                let selector = selector(chars)?;
                if parse_json_path(&format!("$[{selector}]")).is_err() {
                    return Err(format!("[{selector}] is not supported"));
                }
                query.extend(["[", &selector, "]"]);
            }
            _ => return Ok(query),
        }
    }
}

/// A name as RFC 9535 quotes it.
fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\\', r"\\").replace('\'', r"\'"))
}

/// The characters of a name; a backslash escapes the next one.
fn name(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    const ENDS: &str = ".[](){}=!<>&|,;?@$\"'";
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| !ENDS.contains(*c) && !c.is_whitespace()) {
        match c {
            '\\' => name.push(chars.next().ok_or("a character is missing after \\")?),
            c => name.push(c),
        }
    }
    Ok(name)
}

/// The selector after a bracket, up to the closing one. Paths in a filter are rewritten, too.
fn selector(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut selector = String::new();
    let mut dotted = false;
    loop {
        match chars.next().ok_or("the closing bracket is missing")? {
            ']' => break,
            quote @ ('"' | '\'') => {
                let text = string(chars, quote)?;
                dotted |= text.contains('.');
                selector.push_str(&quoted(&text));
            }
            '@' => {
                selector.push('@');
                selector.push_str(&segments(chars)?);
            }
            c => selector.push(c),
        }
    }
    let selector = selector.trim().to_owned();
    // In kubectl each of them would be a path.
    if dotted && selector.contains(',') && !selector.starts_with('?') {
        return Err(format!(
            "[{selector}] is not supported: write one expression for each path"
        ));
    }
    Ok(selector)
}

/// The characters of a string up to its closing quote; a backslash escapes the next one.
fn string(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, String> {
    let mut text = String::new();
    loop {
        match chars.next().ok_or("the closing quote is missing")? {
            '\\' => text.push(chars.next().ok_or("the closing quote is missing")?),
            c if c == quote => return Ok(text),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn runs() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {
                    "metadata": {"name": "night", "labels": {"app.kubernetes.io/name": "a", "is-last": "no"}},
                    "status": {"phase": "Succeeded", "held": 0, "steps": [{"step": "hold"}, {"step": "it's"}]},
                },
                {
                    "metadata": {"name": "noon", "labels": {"app.kubernetes.io/name": "b", "is-last": "yes"}},
                    "status": {"phase": "Failed", "held": 2, "steps": []},
                },
            ],
        })
    }

    /// The text that kubectl prints. It refuses the cases called `kubectl_has_not`.
    #[rstest]
    #[case("{.kind}", "List")]
    #[case("{$.kind}", "List")]
    #[case("{@.kind}", "List")]
    #[case("{ .kind }", "List")]
    #[case("{.items[*].metadata.name}", "night noon")]
    #[case("{.items.*.metadata.name}", "night noon")]
    #[case("{.items[0].metadata.name}", "night")]
    #[case("{.items[-1:].metadata.name}", "noon")]
    #[case("{.items[0:2].metadata.name}", "night noon")]
    #[case("{.items[0,1].metadata.name}", "night noon")]
    #[case("{..held}", "0 2")]
    #[case("{.items[*].status.steps[*].step}", "hold it's")]
    #[case("{.items[0].status.steps}", r#"[{"step":"hold"},{"step":"it's"}]"#)]
    #[case("{.items[0].nothing}", "")]
    #[case("{.items[7].metadata.name}", "")]
    #[case(r"{.items[0].metadata.labels.app\.kubernetes\.io/name}", "a")]
    #[case(r"{.items[0].metadata.labels['app\.kubernetes\.io/name']}", "a")]
    #[case("{.items[0].metadata.labels.is-last}", "no")]
    #[case("{.items[?(@.status.phase==\"Failed\")].metadata.name}", "noon")]
    #[case("{.items[?(@.status.phase != 'Failed')].metadata.name}", "night")]
    #[case("{.items[?(@.status.held > 1)].metadata.name}", "noon")]
    #[case(
        "{.items[?(@.metadata.labels.is-last==\"yes\")].metadata.name}",
        "noon"
    )]
    #[case("runs: {.items[0].metadata.name}!", "runs: night!")]
    #[case("{.kind}{\"\\n\"}", "List\n")]
    #[case("{.kind}{'}'}{\"{\"}", "List}{")]
    #[case(
        "{range .items[*]}{.metadata.name}{\"\\t\"}{.status.phase}{\"\\n\"}{end}",
        "night\tSucceeded\nnoon\tFailed\n"
    )]
    #[case(
        "{range .items[*]}{.metadata.name}:{range .status.steps[*]} {.step}{end};{end}",
        "night: hold it's;noon:;"
    )]
    #[case(
        "{range .items[*]}{$.kind}/{@.metadata.name} {end}",
        "List/night List/noon "
    )]
    #[case("{range .items[0].status.steps[*].step}<{.}>{end}", "<hold><it's>")]
    #[case::kubectl_has_not("{.items[0].metadata.labels['app.kubernetes.io/name']}", "a")]
    #[case::kubectl_has_not(
        "{.items[?(@.status.held>1 || @.metadata.name=='night')].metadata.name}",
        "night noon"
    )]
    fn template_is_rendered_as_by_kubectl(#[case] template: &str, #[case] text: &str) {
        let parsed: Template = template.parse().unwrap();
        assert_eq!(parsed.render(&runs()), text);
    }

    #[rstest]
    #[case(".items", "has no expression in braces")]
    #[case("{.items", "{.items: the closing brace is missing")]
    #[case("{items}", "{items}: must begin with a dot")]
    #[case("{}", "{}: must begin with a dot")]
    #[case("{.a..}", "{.a..}: a name is missing after a dot")]
    #[case("{.a b}", "{.a b}: \" b\" is not supported")]
    #[case("{.a}{end}", "{end} without {range}")]
    #[case("{range .a}{.b}", "{range} without {end}")]
    #[case("{if .a}", "{if .a}: must begin with a dot")]
    #[case("{.a[x]}", "[x] is not supported")]
    #[case("{.a[(@.length-1)]}", "is not supported")]
    #[case("{.a[?(@.b=~/x/)]}", "is not supported")]
    #[case("{.a[0}", "the closing bracket is missing")]
    #[case("{.a['b]}", "the closing brace is missing")]
    #[case("{\"\\x\"}", "\\x is not supported")]
    #[case("{\"a\"\"b\"}", "text must be in one pair of quotes")]
    #[case("{.a['b.c', 'd.e']}", "write one expression for each path")]
    fn unsupported_part_is_named(#[case] template: &str, #[case] why: &str) {
        let error = template.parse::<Template>().unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
