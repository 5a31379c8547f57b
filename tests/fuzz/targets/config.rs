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
        Err(ConfigError::Faults(faults)) => {
            assert!(!faults.is_empty());
            for fault in &faults {
                let (path, problem) = fault.split_once(": ").expect("a path and a problem");
                assert!(!path.is_empty() && !problem.is_empty(), "{fault:?}");
            }
        }
        Err(refused @ (ConfigError::Syntax(_) | ConfigError::Read { .. })) => {
            assert!(!refused.to_string().is_empty());
        }
    }
}
