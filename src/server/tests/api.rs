//! The answers of `/api/v1` match their description.

use super::*;
use crate::server::api::description;

fn described() -> Value {
    description::<Receiver>()
}

#[tokio::test]
async fn api_description_is_served_and_up_to_date() {
    let face = face(fixture::healthy(), Receiver::default());
    let served = json(face.get("/api/v1/openapi.json").await).await;
    assert_eq!(served, described());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/docs/openapi.json");
    let text = serde_json::to_string_pretty(&served).unwrap() + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == text,
        "out of date: UPDATE_DOCS=1 cargo test --lib openapi"
    );
}

#[rstest]
#[case(fixture::healthy())]
#[case(fixture::jammed())]
#[case(fixture::half_seen())]
#[tokio::test]
async fn responses_match_the_description(#[case] view: View) {
    let face = face(view, Receiver::default());
    let description = described();
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 5);
    for (path, methods) in paths {
        let content = &methods["get"]["responses"]["200"]["content"];
        let mut schema = content["application/json"]["schema"].clone();
        schema["components"] = description["components"].clone();
        let schema = strict(schema);
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let answer = face.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let answer = json(answer).await;
        let faults: Vec<_> = validator
            .iter_errors(&answer)
            .map(|it| it.to_string())
            .collect();
        assert_eq!(faults, [""; 0], "{path}");
    }
}

/// The schema, closed to fields that it does not name: every field in a response must be described.
fn strict(schema: Value) -> Value {
    match schema {
        Value::Object(mut fields) => {
            let of_an_object = fields.contains_key("properties");
            for (name, field) in &mut fields {
                // Alternatives beside properties describe the same object, so that it is closed once.
                let parts = of_an_object && name == "oneOf";
                let taken = field.take();
                *field = if parts { taken } else { strict(taken) };
            }
            if of_an_object {
                fields.insert("unevaluatedProperties".into(), false.into());
            }
            Value::Object(fields)
        }
        Value::Array(all) => all.into_iter().map(strict).collect(),
        plain => plain,
    }
}

#[tokio::test]
async fn undescribed_field_is_refused() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let validator = jsonschema::draft202012::new(&strict(schema)).unwrap();
    assert!(validator.is_valid(&json!({"a": "b"})));
    assert!(!validator.is_valid(&json!({"a": "b", "c": 1})));
}
