//! `x-kubernetes-validations`: a subset of CEL, for immutability and dependencies between fields.
//!
//! Supported are `self`, `oldSelf` and their fields, literals, `has()`, `==`, `!=`, `!`, `&&`, `||` and parentheses. Other
//! rules are not enforced.

use serde_json::Value;

use super::super::json::Json as _;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    condition: Expression,
    /// Message for a violation.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Equal(Box<Self>, Box<Self>),
    Has(Box<Self>),
    Literal(Value),
    /// A nested field of the new or the old value.
    Field {
        old: bool,
        path: Vec<String>,
    },
}

impl Rule {
    /// The rules of a schema that are supported.
    pub fn read(source: &Value) -> Vec<Self> {
        source
            .items("/x-kubernetes-validations")
            .iter()
            .filter_map(|rule| {
                let text = rule.text("/rule");
                let message = match rule.text("/message") {
                    "" => format!("failed rule: {text}"),
                    message => message.to_owned(),
                };
                let condition = Parser::new(text)?.whole()?;
                Some(Self { condition, message })
            })
            .collect()
    }

    /// Whether a value satisfies the rule. A transition rule holds if there was no previous value.
    pub fn holds(&self, value: &Value, old: Option<&Value>) -> bool {
        if self.condition.is_transition() && old.is_none() {
            return true;
        }
        let old = old.unwrap_or(&Value::Null);
        // An expression that cannot be evaluated, such as an absent field, violates the rule.
        self.condition.truth(value, old).unwrap_or(false)
    }
}

impl Expression {
    fn is_transition(&self) -> bool {
        match self {
            Self::Or(a, b) | Self::And(a, b) | Self::Equal(a, b) => {
                a.is_transition() || b.is_transition()
            }
            Self::Not(a) | Self::Has(a) => a.is_transition(),
            Self::Literal(_) => false,
            Self::Field { old, .. } => *old,
        }
    }

    fn truth(&self, new: &Value, old: &Value) -> Option<bool> {
        match self {
            // One true side is sufficient, even if the other cannot be evaluated.
            Self::Or(a, b) => match (a.truth(new, old), b.truth(new, old)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (a, b) => Some(a? || b?),
            },
            Self::And(a, b) => match (a.truth(new, old), b.truth(new, old)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (a, b) => Some(a? && b?),
            },
            Self::Not(a) => a.truth(new, old).map(|truth| !truth),
            Self::Equal(a, b) => match (a.value(new, old), b.value(new, old)) {
                (Some(a), Some(b)) => Some(a == b),
                _ => Some(a.truth(new, old)? == b.truth(new, old)?),
            },
            Self::Has(a) => Some(a.value(new, old).is_some()),
            Self::Literal(_) | Self::Field { .. } => self.value(new, old)?.as_bool(),
        }
    }

    fn value<'v>(&'v self, new: &'v Value, before: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Literal(value) => Some(value),
            Self::Field { old, path } => {
                let root = if *old { before } else { new };
                path.iter().try_fold(root, |value, name| value.get(name))
            }
            _ => None,
        }
    }
}

/// A recursive descent parser over the tokens of a rule.
struct Parser(Vec<String>);

impl Parser {
    fn new(text: &str) -> Option<Self> {
        let mut words = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let length = word(rest)?;
            words.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
        words.reverse();
        Some(Self(words))
    }

    fn take(&mut self, word: &str) -> bool {
        let next = self.0.last().is_some_and(|w| w == word);
        if next {
            self.0.pop();
        }
        next
    }

    fn whole(mut self) -> Option<Expression> {
        let expression = self.or()?;
        self.0.is_empty().then_some(expression)
    }

    fn or(&mut self) -> Option<Expression> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.equal()?;
        while self.take("&&") {
            left = Expression::And(Box::new(left), Box::new(self.equal()?));
        }
        Some(left)
    }

    fn equal(&mut self) -> Option<Expression> {
        let left = self.term()?;
        if self.take("==") {
            return Some(Expression::Equal(Box::new(left), Box::new(self.term()?)));
        }
        if self.take("!=") {
            let equal = Expression::Equal(Box::new(left), Box::new(self.term()?));
            return Some(Expression::Not(Box::new(equal)));
        }
        Some(left)
    }

    fn term(&mut self) -> Option<Expression> {
        if self.take("!") {
            return Some(Expression::Not(Box::new(self.term()?)));
        }
        if self.take("(") {
            let inner = self.or()?;
            return self.take(")").then_some(inner);
        }
        if self.take("has") {
            let field = self.take("(").then(|| self.term())??;
            return self.take(")").then(|| Expression::Has(Box::new(field)));
        }
        let word = self.0.pop()?;
        if let Some(text) = word.strip_prefix('\'').and_then(|w| w.strip_suffix('\'')) {
            return Some(Expression::Literal(text.into()));
        }
        if let Ok(literal) = serde_json::from_str(&word) {
            return Some(Expression::Literal(literal));
        }
        let mut names = word.split('.');
        let old = match names.next()? {
            "self" => false,
            "oldSelf" => true,
            _ => return None,
        };
        let path = names.map(unescaped).collect();
        // Function calls are not supported.
        (!self.take("(")).then_some(Expression::Field { old, path })
    }
}

/// Length of the next token of a rule.
fn word(text: &str) -> Option<usize> {
    if let Some(operator) = ["&&", "||", "==", "!=", "!", "(", ")"]
        .into_iter()
        .find(|o| text.starts_with(o))
    {
        return Some(operator.len());
    }
    let first = text.chars().next()?;
    if matches!(first, '\'' | '"') {
        return text[1..].find(first).map(|end| end + 2);
    }
    let of_word = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    let end = text.find(|c| !of_word(c)).unwrap_or(text.len());
    (end > 0).then_some(end)
}

/// A field whose name is a keyword of CEL is written as `__name__`.
fn unescaped(name: &str) -> String {
    name.strip_prefix("__")
        .and_then(|n| n.strip_suffix("__"))
        .unwrap_or(name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn rule(text: &str) -> Option<Rule> {
        Rule::read(&json!({"x-kubernetes-validations": [{"rule": text}]})).pop()
    }

    #[rstest]
    #[case("self == oldSelf", json!(1), Some(json!(1)), true)]
    #[case("self == oldSelf", json!(1), Some(json!(2)), false)]
    #[case("self == oldSelf", json!(1), None, true)]
    #[case("!has(oldSelf.a) || has(self.a)", json!({}), Some(json!({"a": 1})), false)]
    #[case("!has(oldSelf.a) || has(self.a)", json!({}), Some(json!({})), true)]
    #[case("has(self.a) && !has(self.b) || !has(self.a) && has(self.b)", json!({"a": 1, "b": 2}), None, false)]
    #[case("(has(self.a) && !has(self.b)) || (!has(self.a) && has(self.b))", json!({"b": 2}), None, true)]
    #[case("self.__namespace__ != 'x' && self.n == 3", json!({"namespace": "y", "n": 3}), None, true)]
    #[case("self.kind == \"A\"", json!({"kind": "B"}), None, false)]
    #[case("self.absent == 1", json!({}), None, false)]
    fn rules_are_evaluated(
        #[case] text: &str,
        #[case] value: Value,
        #[case] old: Option<Value>,
        #[case] expected: bool,
    ) {
        let rule = rule(text).expect("understood");
        assert_eq!(rule.holds(&value, old.as_ref()), expected, "{text}");
    }

    #[rstest]
    #[case("self.all(x, x > 1)")]
    #[case("size(self) < 3")]
    #[case("self.startsWith('a')")]
    fn unsupported_rule_is_not_enforced(#[case] text: &str) {
        assert!(rule(text).is_none());
    }
}
