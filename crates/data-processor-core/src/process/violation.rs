//! One broken rule of one record, as the specification of verdicts words it.

/// Most characters of an offending value that are kept.
const VALUE_CHARACTERS: usize = 200;

/// Whether the record could be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A record rule failed: there is exactly one violation.
    Parse,
    /// Field rules failed.
    Validate,
}

impl Stage {
    /// The word used in letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Parse => "parse",
            Stage::Validate => "validate",
        }
    }
}

/// One broken rule: the same in a letter, over HTTP and on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Stable slug of the rule.
    pub code: &'static str,
    /// JSON pointer; empty for the record itself.
    pub path: String,
    /// What is true.
    pub message: String,
    /// What to do now.
    pub hint: String,
    /// The offending value as JSON text as it stood in the record, shortened; None when there is none.
    pub value: Option<String>,
}

/// `bytes` as text of at most 200 characters, `…` after a cut.
pub fn shortened(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(VALUE_CHARACTERS) {
        None => text.into_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
