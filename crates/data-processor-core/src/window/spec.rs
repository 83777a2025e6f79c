//! What a window is: its shape, its lateness, what it adds up.

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// How events are put into windows. Times in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Shape {
    /// `[start, start + size)` every `hop`, aligned to the epoch. Tumbling windows have `hop == size`.
    Hopping {
        /// Length of a window, at least `hop`.
        size_us: i64,
        /// Distance between starts, above 0.
        hop_us: i64,
    },
    /// Events of one key that are at most `gap` apart; the window ends `gap` after its last event.
    Session {
        /// Longest silence inside a session, above 0.
        gap_us: i64,
    },
}

/// When results are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// After every change, and when final.
    Update,
    /// Only when final.
    Final,
}

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rows, or values that are there.
    Count,
    /// Exact for exact values.
    Sum,
    /// Sum by count, as a double.
    Avg,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// About how many different values.
    Distinct,
    /// About the value below which a share `q` lies.
    Quantile,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// No column: rows are counted.
    Rows,
    /// Decimals of one scale; integers have scale 0.
    Exact,
    /// Finite doubles.
    Float,
    /// Text, in UTF-8 order.
    Text,
    /// Instants in µs.
    Time,
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AggregateSpec {
    /// Its name.
    pub name: String,
    /// What is added up.
    pub kind: Kind,
    /// What of.
    pub values: Values,
    /// Digits after the point of exact values.
    #[serde(default)]
    pub scale: u8,
    /// Of a quantile: 0 to 1.
    #[serde(default)]
    pub q: f64,
}

/// One live window.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WindowSpec {
    /// Its name.
    pub name: String,
    /// Of everything that changes its results: state of another hash is not continued.
    pub hash: String,
    /// How events are put into windows.
    pub shape: Shape,
    /// How far behind the largest event time an event may be, µs, at least 0.
    pub lateness_us: i64,
    /// When results are given out.
    pub emit: Emit,
    /// Number of key columns.
    pub keys: usize,
    /// Columns of a result.
    pub aggregates: Vec<AggregateSpec>,
}

impl WindowSpec {
    /// Windows from the JSON that the contract layer makes; lengths are checked.
    pub fn parse(json: &str) -> Result<Vec<WindowSpec>> {
        let specs: Vec<WindowSpec> =
            serde_json::from_str(json).map_err(|e| Error::new(ErrorKind::Plan, "window.plan", e.to_string()))?;
        for spec in &specs {
            let sound = spec.lateness_us >= 0
                && match spec.shape {
                    Shape::Hopping { size_us, hop_us } => hop_us > 0 && size_us >= hop_us,
                    Shape::Session { gap_us } => gap_us > 0,
                };
            if !sound {
                let message = format!("window {:?} has lengths that make no window", spec.name);
                return Err(Error::new(ErrorKind::Plan, "window.plan", message).text("window", spec.name.as_str()));
            }
        }
        Ok(specs)
    }

    /// How long after its own time an event can still be in an open window, µs.
    pub fn span_us(&self) -> i64 {
        match self.shape {
            Shape::Hopping { size_us, .. } => size_us,
            Shape::Session { gap_us } => gap_us,
        }
    }

    /// Whether a window that ends at `end` is final under a watermark. A session that ends at the watermark itself is not:
    /// an event at that very instant is not late and would touch it.
    pub fn is_final(&self, end: i64, watermark: Option<i64>) -> bool {
        match (self.shape, watermark) {
            (_, None) => false,
            (Shape::Hopping { .. }, Some(at)) => end <= at,
            (Shape::Session { .. }, Some(at)) => end < at,
        }
    }

    /// The watermark after events up to `largest` were seen.
    pub fn watermark(&self, before: Option<i64>, largest: Option<i64>) -> Option<i64> {
        before.max(largest.map(|at| at.saturating_sub(self.lateness_us)))
    }
}

/// Start of every window that holds the instant `at`, oldest first.
///
/// Windows are half-open, `[start, start + size)`, and aligned to the epoch, so workers that never talk agree on each
/// boundary. `at` and the starts are µs since 1970 UTC and may be negative; starts below `i64::MIN` are left out.
///
/// ```
/// # use data_processor_core::window::starts;
/// assert!(starts(13, 10, 5).eq([5, 10]));
/// assert!(starts(-1, 10, 10).eq([-10]));
/// ```
pub fn starts(at: i64, size_us: i64, hop_us: i64) -> impl Iterator<Item = i64> {
    let newest = i128::from(at) - i128::from(at.rem_euclid(hop_us));
    let oldest_above = i128::from(at) - i128::from(size_us);
    let count = (newest - oldest_above + i128::from(hop_us) - 1) / i128::from(hop_us);
    (0..count.max(0)).rev().filter_map(move |back| i64::try_from(newest - back * i128::from(hop_us)).ok())
}
