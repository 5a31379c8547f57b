//! ValidatingAdmissionPolicies: evaluates the CEL expressions of bound policies for each new object.
//!
//! Upstream: `apiserver/pkg/admission/plugin/policy/validating`. Only creations are evaluated. `variables`, audit
//! annotations and warnings are not supported; an expression that needs them fails.

use std::sync::Arc;

use cel::{Context, Env, ExecutionError, Program, Value as CelValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Target, WriteOptions};
use crate::cluster::Cluster;
use crate::failure::{Failure, Result};
use crate::json::{Json as _, Meta as _};
use crate::selector::Selector;

const POLICIES: &str = "admissionregistration.k8s.io/validatingadmissionpolicies";
const BINDINGS: &str = "admissionregistration.k8s.io/validatingadmissionpolicybindings";

/// Refuses a new object that a bound policy denies.
pub fn admit(
    cluster: &Cluster,
    target: &Target,
    options: &WriteOptions,
    object: &Value,
) -> Result<()> {
    for binding in cluster.store.list(BINDINGS, None) {
        let actions = binding.items("/spec/validationActions");
        let name = binding.text("/spec/policyName");
        let Some(policy) = cluster.store.get(POLICIES, "", name) else {
            continue;
        };
        let applies = actions.iter().any(|action| action == "Deny")
            && matches(cluster, &policy["spec"]["matchConstraints"], target, object)
            && (binding.pointer("/spec/matchResources").is_none()
                || matches(cluster, &binding["spec"]["matchResources"], target, object));
        if !applies {
            continue;
        }
        let namespace = cluster.store.get("/namespaces", "", &target.namespace);
        let request = Request {
            target,
            options,
            object,
            namespace: namespace.map_or(&Value::Null, |namespace| &**namespace),
        };
        let denied = match params(cluster, policy, binding) {
            Params::None => denial(policy, &request, &Value::Null),
            Params::Some(all) => all.iter().find_map(|param| denial(policy, &request, param)),
            Params::NotFound
                if binding.text("/spec/paramRef/parameterNotFoundAction") == "Deny" =>
            {
                let message =
                    "no params found for policy binding with `Deny` parameterNotFoundAction";
                Some(("Invalid".to_owned(), message.to_owned()))
            }
            Params::NotFound => None,
        };
        if let Some((reason, message)) = denied {
            let binding = binding.name();
            let why = format!(
                "ValidatingAdmissionPolicy '{name}' with binding '{binding}' denied request: {message}"
            );
            return Err(refusal(target, object.name(), &reason, &why));
        }
    }
    Ok(())
}

/// A create request.
struct Request<'a> {
    target: &'a Target,
    options: &'a WriteOptions,
    object: &'a Value,
    /// The object's Namespace; null for cluster-scoped objects.
    namespace: &'a Value,
}

enum Params {
    /// The policy has no params.
    None,
    Some(Vec<Arc<Value>>),
    NotFound,
}

/// The params of a policy under a binding.
fn params(cluster: &Cluster, policy: &Value, binding: &Value) -> Params {
    let kind = &policy["spec"]["paramKind"];
    if kind.is_null() {
        return Params::None;
    }
    let resource = cluster
        .catalog
        .of_object(kind.text("/apiVersion"), kind.text("/kind"));
    let reference = &binding["spec"]["paramRef"];
    let (Some(resource), false) = (resource, reference.is_null()) else {
        return Params::NotFound;
    };
    let namespace = reference.text("/namespace");
    let namespace = (!namespace.is_empty()).then_some(namespace);
    let name = reference.text("/name");
    let selects = selector(&reference["selector"]);
    let all = cluster.store.list(&resource.bucket, namespace);
    let found: Vec<_> = all
        .filter(|param| name.is_empty() || param.name() == name)
        .filter(|param| selects.as_ref().is_some_and(|it| it.matches(param)))
        .cloned()
        .collect();
    if found.is_empty() {
        Params::NotFound
    } else {
        Params::Some(found)
    }
}

/// Parses a label selector. `None` if it is invalid, and selects nothing.
fn selector(of: &Value) -> Option<Selector> {
    let equal = of.entries("/matchLabels");
    let mut terms: Vec<_> = equal
        .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()))
        .collect();
    for term in of.items("/matchExpressions") {
        let values: Vec<_> = term
            .items("/values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let (key, values) = (term.text("/key"), values.join(","));
        terms.push(match term.text("/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    Selector::of_labels(&terms.join(",")).ok()
}

/// Whether match constraints match the creation of this object.
fn matches(cluster: &Cluster, constraints: &Value, target: &Target, object: &Value) -> bool {
    let resource = &target.resource;
    let listed = |rule: &Value, field: &str, word: &str| {
        let words = rule.items(field).iter().filter_map(Value::as_str);
        words.into_iter().any(|it| it == "*" || it == word)
    };
    let is_about = |rule: &Value| {
        listed(rule, "/apiGroups", &resource.group)
            && listed(rule, "/apiVersions", &resource.version)
            && listed(rule, "/operations", "CREATE")
            && listed(rule, "/resources", &resource.plural)
            && match rule.text("/scope") {
                "Namespaced" => resource.namespaced,
                "Cluster" => !resource.namespaced,
                _ => true,
            }
    };
    let rules = constraints.items("/resourceRules");
    let excluded = constraints.items("/excludeResourceRules");
    let namespace = cluster.store.get("/namespaces", "", &target.namespace);
    let selects = |field: &str, object: &Value| {
        let selector = selector(&constraints[field]);
        selector.is_some_and(|selector| selector.matches(object))
    };
    (rules.is_empty() || rules.iter().any(is_about))
        && !excluded.iter().any(is_about)
        && namespace.is_none_or(|namespace| selects("namespaceSelector", namespace))
        && selects("objectSelector", object)
}

/// Reason and message of the first validation that fails.
fn denial(policy: &Value, request: &Request<'_>, params: &Value) -> Option<(String, String)> {
    let fails_closed = policy.text("/spec/failurePolicy") != "Ignore";
    let evaluate = |expression: &str| evaluate(expression, request, params);
    for condition in policy.items("/spec/matchConditions") {
        match evaluate(condition.text("/expression")) {
            Ok(CelValue::Bool(true)) => {}
            Ok(CelValue::Bool(false)) => return None,
            Ok(_) | Err(_) if !fails_closed => return None,
            other => return Some(("Invalid".to_owned(), format!("{other:?}"))),
        }
    }
    for validation in policy.items("/spec/validations") {
        let expression = validation.text("/expression");
        match evaluate(expression) {
            Ok(CelValue::Bool(true)) => continue,
            Ok(CelValue::Bool(false)) => {}
            Ok(_) | Err(_) if !fails_closed => continue,
            other => return Some(("Invalid".to_owned(), format!("{other:?}"))),
        }
        let reason = match validation.text("/reason") {
            "" => "Invalid",
            reason => reason,
        };
        let of_expression = match validation.text("/messageExpression") {
            "" => None,
            expression => match evaluate(expression) {
                Ok(CelValue::String(text)) if !text.contains('\n') => Some(text.to_string()),
                _ => None,
            },
        };
        let message = of_expression.unwrap_or_else(|| match validation.text("/message") {
            "" => format!("failed expression: {expression}"),
            message => message.to_owned(),
        });
        return Some((reason.to_owned(), message));
    }
    None
}

fn evaluate(
    expression: &str,
    request: &Request<'_>,
    params: &Value,
) -> std::result::Result<CelValue, String> {
    let env = Arc::new(Env::stdlib());
    let program: Program = env.compile(expression).map_err(|error| error.to_string())?;
    let mut context = Context::with_env(env);
    let resource = &request.target.resource;
    let kind = json!({
        "group": resource.group, "version": resource.version, "kind": resource.kind,
    });
    let asked = json!({
        "kind": kind,
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "operation": "CREATE",
        "namespace": request.target.namespace,
        "name": request.object.name(),
        "dryRun": request.options.dry_run,
    });
    for (name, value) in [
        ("object", request.object),
        ("namespaceObject", request.namespace),
        ("oldObject", &Value::Null),
        ("params", params),
        ("request", &asked),
    ] {
        let added = context.add_variable(name, value);
        added.map_err(|error| error.to_string())?;
    }
    // The crate's own function requires another date library; only comparisons are needed.
    let added = context.add_function("timestamp", |text: Arc<String>| {
        let time: std::result::Result<Timestamp, _> = text.parse();
        time.map(Timestamp::as_millisecond)
            .map_err(|error| ExecutionError::function_error("timestamp", error))
    });
    added.map_err(|error| error.to_string())?;
    program.execute(&context).map_err(|error| error.to_string())
}

/// The Status of a denied request, worded as Forbidden with any reason.
fn refusal(target: &Target, name: &str, reason: &str, why: &str) -> Failure {
    let mut failure = Failure::forbidden(&target.resource, name, why);
    (failure.code, failure.reason) = match reason {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    failure.details["causes"] = json!([{ "message": why }]);
    failure
}
