//! Label matchers, as in playbooks: a parsed matcher round-trips, and negation inverts the result.

use std::collections::BTreeMap;

use locksmith::config::Matcher;

pub fn run(data: &[u8]) {
    let text = super::text(data);
    // Matcher and labels, separated by NUL: name, value, name, value.
    let mut parts = text.split('\0');
    let matcher = parts.next().unwrap_or_default();
    let Ok(read) = matcher.parse::<Matcher>() else {
        return;
    };
    let labels: BTreeMap<String, String> =
        std::iter::from_fn(|| Some((parts.next()?.to_owned(), parts.next()?.to_owned()))).collect();
    let written = read.to_string();
    let again: Matcher = written.parse().expect("what was written can be read");
    assert_eq!(again, read);
    assert_eq!(again.matches(&labels), read.matches(&labels), "{written}");
    let (name, operator_and_value) =
        written.split_at(written.find(['=', '!']).expect("a matcher has an operator"));
    let turned = match operator_and_value.split_at(2) {
        ("=~", value) => format!("{name}!~{value}"),
        ("!~", value) => format!("{name}=~{value}"),
        ("!=", value) => format!("{name}={value}"),
        _ => format!("{name}!{operator_and_value}"),
    };
    let turned: Matcher = turned.parse().expect("its negation can be read");
    assert_ne!(turned.matches(&labels), read.matches(&labels), "{written}");
}
