//! A line of a driver's log, or a message of an Event or a status: the locked key is a word of it.

use std::sync::LazyLock;

use locksmith::csi::ErrorClass;
use locksmith::csi::LockPatterns;
use locksmith::watch::{convert, stamped};

static PATTERNS: LazyLock<LockPatterns> =
    LazyLock::new(|| LockPatterns::new(&[]).expect("the common patterns"));

/// Longest message kept, with the mark for the cut.
const KEPT: usize = 520;

pub fn run(data: &[u8]) {
    let line = super::text(data);
    let message = stamped(&line).map_or(&*line, |(_, message)| message);
    assert!(convert::cut(message).len() <= KEPT);
    let found = PATTERNS.find(message);
    if let Some(key) = &found {
        let key = &*key.0;
        assert!(
            !key.is_empty() && key.len() <= 512 && message.contains(key),
            "{key:?}"
        );
        assert!(!key.contains(char::is_whitespace), "{key:?}");
    }
    match PATTERNS.classify(message) {
        ErrorClass::Locked(key) => assert_eq!(found, Some(key)),
        ErrorClass::Timeout
        | ErrorClass::SourceMissing
        | ErrorClass::SourceUnbound
        | ErrorClass::Other => {
            assert_eq!(found, None);
        }
    }
}
