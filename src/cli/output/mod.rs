//! Formats of output, shared by all commands: the flags, and values as JSON, YAML or by a template.

mod template;
mod terminal;

pub use terminal::{PipeClosed, has_colour, print, print_line, print_to_reader, prose, width};

use clap::builder::{PossibleValue, TypedValueParser};
use serde::Serialize;

use super::table::Layout;
use template::Template;

/// Prefix of a template in the value of `--output`, as in kubectl.
const JSONPATH: &str = "jsonpath=";

/// Format of output.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputFormat {
    /// Text for people.
    Text,
    /// The same with more columns, as wide as needed.
    Wide,
    /// Names only.
    Name,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// The fields that a template names.
    JsonPath(Template),
}

impl OutputFormat {
    /// `value` as data, or `None` if the format is for people.
    pub fn data(&self, value: &impl Serialize) -> anyhow::Result<Option<String>> {
        Ok(match self {
            Self::Text | Self::Wide | Self::Name => None,
            Self::Json => Some(format!("{}\n", serde_json::to_string_pretty(value)?)),
            Self::Yaml => Some(serde_saphyr::to_string(value)?),
            Self::JsonPath(template) => Some(template.render(&serde_json::to_value(value)?)),
        })
    }
}

/// Parses the value of `--output`.
#[derive(Clone, Copy, Debug)]
enum Formats {
    /// Of one result.
    OfResult,
    /// Of a list, which can also be printed by name or with more columns.
    OfList,
}

impl Formats {
    fn is_supported(self, format: &OutputFormat) -> bool {
        match format {
            OutputFormat::Wide | OutputFormat::Name => matches!(self, Self::OfList),
            _ => true,
        }
    }

    fn format_of(self, text: &str) -> Result<OutputFormat, String> {
        if let Some(template) = text.strip_prefix(JSONPATH) {
            return template.parse().map(OutputFormat::JsonPath);
        }
        let known = PLAIN.iter().find(|(name, ..)| *name == text);
        let format = known.map(|(_, format, _)| format.clone());
        format.filter(|it| self.is_supported(it)).ok_or_else(|| {
            let names = self.names().map(|(name, _)| name);
            format!("use one of {}", names.collect::<Vec<_>>().join(", "))
        })
    }

    /// The values, each with its help.
    fn names(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let plain = PLAIN.iter();
        plain
            .filter(move |(_, format, _)| self.is_supported(format))
            .map(|(name, _, help)| (*name, *help))
            .chain([(
                "jsonpath=TEMPLATE",
                "Fields, as kubectl prints them: jsonpath='{.metadata.name}'",
            )])
    }
}

/// The formats without a template.
static PLAIN: [(&str, OutputFormat, &str); 5] = [
    ("text", OutputFormat::Text, "Text, as wide as the terminal"),
    (
        "wide",
        OutputFormat::Wide,
        "More columns, as wide as needed",
    ),
    ("name", OutputFormat::Name, "Names only, one per line"),
    ("json", OutputFormat::Json, "JSON"),
    ("yaml", OutputFormat::Yaml, "YAML"),
];

impl TypedValueParser for Formats {
    type Value = OutputFormat;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<OutputFormat, clap::Error> {
        let formats = *self;
        let parse = move |text: &str| formats.format_of(text);
        TypedValueParser::parse_ref(&parse, command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = self.names();
        Some(Box::new(
            values.map(|(name, help)| PossibleValue::new(name).help(help)),
        ))
    }
}

/// Output of a command that prints one result.
#[derive(Clone, Debug, clap::Args)]
pub struct ResultArgs {
    /// Output format
    #[arg(
        short,
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = Formats::OfResult
    )]
    pub output: OutputFormat,
}

impl ResultArgs {
    /// Prints `value`, or for people the text that `text` makes of it.
    pub fn print(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        print(self.output.data(value)?.unwrap_or_else(text))
    }
}

/// Output of a command that prints a list.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Output format
    #[arg(
        short,
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = Formats::OfList
    )]
    pub output: OutputFormat,
    /// Print rows only, without headings and summary
    #[arg(long)]
    pub no_headers: bool,
}

impl ListArgs {
    /// Layout of the table: as wide as the terminal, or as needed if wide.
    pub fn layout(&self) -> Layout {
        let wide = self.output == OutputFormat::Wide;
        Layout {
            width: width().filter(|_| !wide),
            headers: !self.no_headers,
        }
    }

    /// The lines of a list that is not data: names, a table, or that there is nothing.
    pub fn lines<T>(
        &self,
        items: &[T],
        nothing: &str,
        name: impl Fn(&T) -> String,
        table: impl FnOnce() -> Vec<String>,
    ) -> String {
        let lines = match self.output {
            OutputFormat::Name => items.iter().map(name).collect(),
            _ if items.is_empty() && self.no_headers => Vec::new(),
            _ if items.is_empty() => vec![nothing.to_owned()],
            _ => table(),
        };
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

/// Objects as kubectl prints several of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List<'i, T> {
    api_version: &'static str,
    kind: &'static str,
    /// The objects.
    pub items: &'i [T],
}

impl<'i, T> List<'i, T> {
    /// A list of `items`.
    pub fn of(items: &'i [T]) -> Self {
        Self {
            api_version: "v1",
            kind: "List",
            items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use rstest::rstest;
    use serde_json::json;

    #[derive(Debug, clap::Parser)]
    struct ListLine {
        #[command(flatten)]
        list: ListArgs,
    }

    #[derive(Debug, clap::Parser)]
    struct ResultLine {
        #[command(flatten)]
        result: ResultArgs,
    }

    fn of_list(value: &str) -> Result<OutputFormat, clap::Error> {
        ListLine::try_parse_from(["x", "-o", value]).map(|line| line.list.output)
    }

    fn of_result(value: &str) -> Result<OutputFormat, clap::Error> {
        ResultLine::try_parse_from(["x", "-o", value]).map(|line| line.result.output)
    }

    #[test]
    fn names_and_columns_are_formats_of_lists_only() {
        for (name, format, _) in &PLAIN {
            assert_eq!(of_list(name).unwrap(), *format);
            let of_lists = matches!(format, OutputFormat::Wide | OutputFormat::Name);
            assert_eq!(of_result(name).is_err(), of_lists, "{name}");
        }
        assert!(matches!(
            of_result("jsonpath={.kind}"),
            Ok(OutputFormat::JsonPath(_))
        ));
    }

    #[rstest]
    #[case("table", "use one of text, wide, name, json, yaml, jsonpath=TEMPLATE")]
    #[case("jsonpath={.a[x]}", "{.a[x]}: [x] is not supported")]
    fn unsupported_format_is_refused_with_the_reason(#[case] value: &str, #[case] why: &str) {
        let error = of_list(value).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn list_is_one_object_in_every_data_format() {
        let items = [
            json!({"metadata": {"name": "night"}}),
            json!({"metadata": {"name": "noon"}}),
        ];
        let list = List::of(&items);
        let expected = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let text = OutputFormat::Json.data(&list).unwrap().unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            expected
        );
        let text = OutputFormat::Yaml.data(&list).unwrap().unwrap();
        assert_eq!(
            serde_saphyr::from_str::<serde_json::Value>(&text).unwrap(),
            expected
        );
        let names = of_list("jsonpath={.items[*].metadata.name}").unwrap();
        assert_eq!(names.data(&list).unwrap().unwrap(), "night noon");
        assert_eq!(OutputFormat::Name.data(&list).unwrap(), None);
    }
}
