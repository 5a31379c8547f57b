//! Configuration file: it is refused with the path of the error, or parsed and round-trips.

use locksmith::config::{self, ConfigError, Mode};

pub fn run(data: &[u8]) {
    let text = super::text(data);
    match config::parse(&text) {
        Ok(config) => {
            let written = serde_json::to_string(&config).expect("what was read can be written");
            assert_eq!(
                config::parse(&written).expect("what was written can be read"),
                config
            );
            // Mode act requires this word.
            assert!(config.mode != Mode::Act || text.contains("mode"), "{text}");
        }
        Err(ConfigError::Field { path, problem }) => {
            assert!(
                !path.is_empty() && !problem.is_empty(),
                "{path:?} {problem:?}"
            );
        }
        Err(ConfigError::Contradictions(faults)) => {
            assert!(!faults.is_empty());
            assert!(
                faults.iter().all(|fault| fault.contains(": ")),
                "{faults:?}"
            );
        }
        Err(refused @ (ConfigError::Syntax(_) | ConfigError::Read { .. })) => {
            assert!(!refused.to_string().is_empty());
        }
    }
}
