//! A request that the API server refused for lack of a right, as one sentence. Pure.

use std::fmt;

/// Who may not do what, read from the message of a 403 (`ForbiddenErrorMessage` in k8s.io/apiserver).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial<'m> {
    /// Name of the user.
    pub user: &'m str,
    /// Verb, such as `list`.
    pub verb: &'m str,
    /// Resource, with its subresource: `pods/log`.
    pub resource: &'m str,
    /// API group; empty for the core group.
    pub group: &'m str,
    /// Namespace; `None` for the whole cluster.
    pub namespace: Option<&'m str>,
}

impl<'m> Denial<'m> {
    /// Parses a message; `None` if something else refused the request, such as an admission policy.
    pub fn parse(message: &'m str) -> Option<Self> {
        let (_, rest) = message.split_once("User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let namespace = match rest.strip_prefix(" in the namespace \"") {
            Some(rest) => Some(rest.split_once('"')?.0),
            None if rest.starts_with(" at the cluster scope") => None,
            None => return None,
        };
        Some(Self {
            user,
            verb,
            resource,
            group,
            namespace,
        })
    }
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may not {} {}", self.user, self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in the whole cluster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" at the cluster scope",
        "jane may not list pods in the whole cluster"
    )]
    #[case(
        "pods \"x\" is forbidden: User \"system:serviceaccount:a:b\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"rook-ceph\"",
        "system:serviceaccount:a:b may not get pods/log in namespace rook-ceph"
    )]
    #[case(
        "remediations.locksmith.dev is forbidden: User \"jane\" cannot list resource \"remediations\" in API group \"locksmith.dev\" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io \"x\" not found",
        "jane may not list remediations.locksmith.dev in the whole cluster"
    )]
    fn denial_is_one_sentence(#[case] message: &str, #[case] sentence: &str) {
        assert_eq!(Denial::parse(message).unwrap().to_string(), sentence);
    }

    #[rstest]
    #[case(
        "volumesnapshots.snapshot.storage.k8s.io \"x\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: held"
    )]
    #[case("forbidden: User \"jane\" cannot get path \"/metrics\"")]
    fn other_refusal_is_no_denial(#[case] message: &str) {
        assert_eq!(Denial::parse(message), None);
    }
}
