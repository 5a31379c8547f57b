//! Names of objects, as Kubernetes permits them.

/// Longest name of an object (RFC 1123 subdomain; apimachinery, `validation.DNS1123SubdomainMaxLength`).
const MAX_NAME: usize = 253;

/// Whether an object can have this name: the kinds read here require an RFC 1123 subdomain.
///
/// A name from an object's fields must be checked before it becomes part of a path: kube does not escape it, and
/// `?watch=true` as a name turns a GET into a watch. No object can have such a name.
pub fn is_object_name(name: &str) -> bool {
    let is_alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(is_alphanumeric)
            && bytes.last().copied().is_some_and(is_alphanumeric)
            && bytes.iter().all(|c| is_alphanumeric(*c) || *c == b'-')
    };
    name.len() <= MAX_NAME && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("prowlarr", true)]
    #[case("volsync-prowlarr-src", true)]
    #[case("a.b-1.2", true)]
    #[case("", false)]
    #[case("?watch=true&n=1", false)]
    #[case("a/../b", false)]
    #[case("..", false)]
    #[case("a..b", false)]
    #[case("a%2Fb", false)]
    #[case("-a", false)]
    #[case("a-", false)]
    #[case("Media", false)]
    #[case("ä", false)]
    #[case("a b", false)]
    #[case("a\n", false)]
    fn only_subdomains_are_valid_names(#[case] name: &str, #[case] accepted: bool) {
        assert_eq!(is_object_name(name), accepted);
    }

    #[test]
    fn name_length_is_limited() {
        assert!(is_object_name(&"a".repeat(MAX_NAME)));
        assert!(!is_object_name(&"a".repeat(MAX_NAME + 1)));
    }
}
