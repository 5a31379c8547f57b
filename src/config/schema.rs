//! The JSON Schema of the configuration, for editors and for the chart.
//!
//! It rejects unknown fields and malformed values. Rules across fields are left to `check`.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

/// The schema of a configuration file, in the dialect 2020-12. Descriptions are the doc comments of the fields.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>();
    schema.insert(
        "title".to_owned(),
        "Configuration of volsync-locksmith".into(),
    );
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_schema_matches_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/locksmith.schema.json");
        let wanted = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            found, wanted,
            "out of date: UPDATE_DOCS=1 cargo test --lib schema"
        );
    }

    #[test]
    fn schema_accepts_the_annotated_example() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let example: Value =
            serde_saphyr::from_str(include_str!("../../deploy/locksmith.yaml")).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(&example)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(faults, Vec::<String>::new());
    }
}
