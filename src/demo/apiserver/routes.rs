//! Parses paths into routes.
//!
//! Upstream: `apiserver/pkg/endpoints/request/requestinfo.go`.

use super::failure::{Failure, Result};
use super::resources::{Catalog, Subresource};
use super::write::Target;

/// The target of a request.
#[derive(Debug)]
pub enum Route {
    /// `/healthz` and the like.
    Health,
    /// `/version`.
    Version,
    /// `/api`: the core group's versions.
    CoreVersions,
    /// `/apis`: all other groups.
    Groups,
    /// `/apis/apps`.
    Group(String),
    /// `/api/v1`, `/apis/apps/v1`.
    Resources(String, String),
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/apis/apps/v1`: group and version.
    OpenApi(String, String),
    /// All objects of a resource, in one or all namespaces.
    Collection(Target),
    /// An object, or one of its subresources.
    Object(Target),
}

/// Parses a path.
pub fn route(catalog: &Catalog, path: &str) -> Result<Route> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Ok(Route::Health),
        ["version"] => Ok(Route::Version),
        ["api"] => Ok(Route::CoreVersions),
        ["apis"] => Ok(Route::Groups),
        ["apis", group] => Ok(Route::Group((*group).to_owned())),
        ["api", version] => Ok(Route::Resources(String::new(), (*version).to_owned())),
        ["apis", group, version] => {
            Ok(Route::Resources((*group).to_owned(), (*version).to_owned()))
        }
        ["openapi", "v3"] => Ok(Route::OpenApiIndex),
        ["openapi", "v3", "api", version] => {
            Ok(Route::OpenApi(String::new(), (*version).to_owned()))
        }
        ["openapi", "v3", "apis", group, version] => {
            Ok(Route::OpenApi((*group).to_owned(), (*version).to_owned()))
        }
        ["api", version, rest @ ..] => objects(catalog, "", version, rest),
        ["apis", group, version, rest @ ..] => objects(catalog, group, version, rest),
        _ => Err(Failure::no_resource()),
    }
}

fn objects(catalog: &Catalog, group: &str, version: &str, rest: &[&str]) -> Result<Route> {
    // `namespaces/x` is an object, and `namespaces/x/status` its subresource; `namespaces/x/pods` is neither.
    let (namespace, rest) = match rest {
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let [plural, rest @ ..] = rest else {
        return Err(Failure::no_resource());
    };
    let resource = catalog
        .find(group, version, plural)
        .ok_or_else(Failure::no_resource)?;
    if namespace.is_some() && !resource.namespaced {
        return Err(Failure::no_resource());
    }
    let target = |name: &str, subresource| Target {
        resource: resource.clone(),
        namespace: namespace.unwrap_or_default().to_owned(),
        name: name.to_owned(),
        subresource,
    };
    let reachable = namespace.is_some() || !resource.namespaced;
    match rest {
        [] => Ok(Route::Collection(target("", None))),
        [name] if reachable => Ok(Route::Object(target(name, None))),
        [name, part] if reachable => {
            let part = Subresource::named(part).filter(|s| resource.has(*s));
            let part = part.ok_or_else(Failure::no_resource)?;
            Ok(Route::Object(target(name, Some(part))))
        }
        _ => Err(Failure::no_resource()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api/v1/namespaces", "namespaces//")]
    #[case("/api/v1/namespaces/a", "namespaces//a")]
    #[case("/api/v1/namespaces/a/finalize", "namespaces//a Finalize")]
    #[case("/api/v1/namespaces/a/pods", "pods/a/")]
    #[case("/api/v1/pods", "pods//")]
    #[case("/api/v1/namespaces/a/pods/b/log", "pods/a/b Log")]
    #[case(
        "/apis/apps/v1/namespaces/a/deployments/b/scale",
        "deployments/a/b Scale"
    )]
    #[case("/api/v1/nodes/n/status", "nodes//n Status")]
    fn paths_are_routed(#[case] path: &str, #[case] expected: &str) {
        let route = route(&Catalog::builtin(), path).expect("served");
        let (Route::Collection(target) | Route::Object(target)) = route else {
            unreachable!("{path} is about objects");
        };
        let part = target.subresource.map(|s| format!(" {s:?}"));
        let (namespace, name) = (&target.namespace, &target.name);
        let about = format!(
            "{}/{namespace}/{name}{}",
            target.resource.plural,
            part.unwrap_or_default()
        );
        assert_eq!(about, expected);
    }

    #[rstest]
    #[case("/nowhere")]
    #[case("/apis/apps/v1/pods")]
    #[case("/api/v1/pods/a")]
    #[case("/api/v1/namespaces/a/nodes")]
    #[case("/api/v1/namespaces/a/pods/b/exec")]
    fn unknown_paths_are_refused(#[case] path: &str) {
        assert_eq!(
            route(&Catalog::builtin(), path).expect_err("refused").code,
            404
        );
    }
}
