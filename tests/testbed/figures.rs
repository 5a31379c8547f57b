//! Figures that tests measure.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Reports a figure, which tests/run prints at the end.
pub fn figure(text: &str) {
    println!("{text}");
    if let Some(file) = std::env::var_os("LOCKSMITH_FIGURES") {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        writeln!(file, "{text}").unwrap();
    }
}
