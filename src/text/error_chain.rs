//! Formats an error with its causes in one line.

use std::error::Error;

use super::Denial;

/// Wrappers of a failed connection that name types of kube and hyper; the cause follows.
const WRAPPERS: [&str; 2] = [
    "ServiceError: client error (Connect): ",
    "ServiceError: client error (SendRequest): ",
];

/// The error followed by its causes. The actual reason of a failed TLS handshake is the last of five. Of a response of the API
/// server only the message is kept, as kube prints the whole Status after it; a missing right is one sentence.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut answer = answer_of(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        answer = answer.or_else(|| answer_of(cause));
        next = cause.source();
    }
    for wrapper in WRAPPERS {
        text = text.replace(wrapper, "");
    }
    match answer {
        Some((printed, message)) => match Denial::parse(&message) {
            // It names the request, as the errors around it do.
            Some(denial) => denial.to_string(),
            None => text.replace(&printed, &message),
        },
        None => text,
    }
}

/// How kube prints an answer of the API server, and its message.
fn answer_of(error: &(dyn Error + 'static)) -> Option<(String, String)> {
    match error.downcast_ref()? {
        kube::Error::Api(status) if !status.message.is_empty() => {
            Some((error.to_string(), status.message.clone()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to list pods: {0}")]
    struct Listing(#[source] kube::Error);

    #[test]
    fn answer_of_the_api_server_is_its_message() {
        let status = Status::failure("pods is forbidden: User \"jane\" cannot list", "Forbidden");
        let error = kube::Error::Api(Box::new(status.with_code(403)));
        let expected = "pods is forbidden: User \"jane\" cannot list";
        assert_eq!(error_chain(&error), expected);
        let expected = format!("failed to list pods: {expected}");
        assert_eq!(error_chain(&Listing(error)), expected);
    }

    #[test]
    fn missing_right_is_one_sentence() {
        let message = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" at the cluster scope";
        let status = Status::failure(message, "Forbidden");
        let error = kube::Error::Api(Box::new(status.with_code(403)));
        let expected = "jane may not list pods in the whole cluster";
        assert_eq!(error_chain(&Listing(error)), expected);
    }

    #[test]
    fn failed_connection_is_its_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("ServiceError: client error (Connect)")]
        struct Wrapper(#[source] std::num::ParseIntError);
        let error = Wrapper("x".parse::<u32>().unwrap_err());
        assert_eq!(error_chain(&error), "invalid digit found in string");
    }

    #[test]
    fn cause_is_appended_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed to read")]
        struct Reading(#[source] std::num::ParseIntError);
        let error = Reading("x".parse::<u32>().unwrap_err());
        let expected = "failed to read: invalid digit found in string";
        assert_eq!(error_chain(&error), expected);
    }
}
