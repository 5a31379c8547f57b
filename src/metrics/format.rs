//! Selects the format of a response by its `Accept` header, and converts an exposition to the classic format.

use super::families::TABLE;

/// The text formats that Prometheus reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The classic text format, for clients that request no other: `promtool check metrics` reads only this.
    Classic,
}

impl Format {
    /// The format that a request with this `Accept` header prefers.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// Value of the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The content codings of an exposition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    /// None.
    Identity,
    /// Gzip (RFC 1952), which Prometheus accepts.
    Gzip,
}

impl Coding {
    /// The coding for a request with this `Accept-Encoding` header. A quality of 0 refuses gzip (RFC 9110).
    pub fn accepted(accept_encoding: &str) -> Self {
        let gzip = accept_encoding.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            named && quality.is_none_or(|quality| quality.parse().is_ok_and(|q: f32| q > 0.0))
        });
        if gzip { Self::Gzip } else { Self::Identity }
    }
}

/// Converts an OpenMetrics exposition to the classic format, in which type and help of a counter are on `_total`, and unit
/// and end are absent.
pub fn classic(openmetrics: &str) -> String {
    let counters: Vec<String> = TABLE
        .iter()
        .flat_map(|(_, rows)| *rows)
        .map(super::family::Row::full_name)
        .filter(|name| name.ends_with("_total"))
        .collect();
    let total = |name: &str| {
        let of_it = |counter: &&String| counter.strip_suffix("_total") == Some(name);
        counters.iter().find(of_it)
    };
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        let described = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => continue,
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                total(name).map(|counter| format!("# {what} {counter} {rest}"))
            }
            _ => None,
        };
        text.push_str(described.as_deref().unwrap_or(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_header_selects_the_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        for curl in ["", "*/*", "text/plain;version=0.0.4"] {
            assert_eq!(Format::accepted(curl), Format::Classic);
        }
    }

    #[test]
    fn accept_encoding_header_selects_the_coding() {
        for gzip in [
            "gzip",
            "deflate, GZIP;q=0.5",
            "br;q=1.0, gzip ; q=0.8, *;q=0.1",
        ] {
            assert_eq!(Coding::accepted(gzip), Coding::Gzip, "{gzip}");
        }
        for identity in [
            "",
            "identity",
            "gzip;q=0",
            "gzip; q=0.0",
            "xgzip",
            "gzip;q=x",
        ] {
            assert_eq!(Coding::accepted(identity), Coding::Identity, "{identity}");
        }
    }

    #[test]
    fn label_that_looks_like_a_comment_is_kept() {
        let sample = "locksmith_steps_total{step=\"# TYPE locksmith_steps counter\"} 1\n";
        assert_eq!(classic(sample), sample);
    }
}
