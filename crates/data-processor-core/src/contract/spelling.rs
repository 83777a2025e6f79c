//! The plan's JSON spelling, field by field. A name we do not know is a rule we would not apply: refused.

use serde::Deserialize;

/// The whole plan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanText {
    pub contract: String,
    pub version: String,
    #[serde(default)]
    pub hash: String,
    #[serde(default)]
    pub key: Vec<String>,
    #[serde(default)]
    pub event_time: Option<String>,
    pub unknown: UnknownText,
    pub earliest_us: i64,
    pub ahead_us: i64,
    pub max_depth: usize,
    pub max_members: usize,
    pub max_bytes: usize,
    pub fields: Vec<FieldText>,
}

/// What happens to unknown members.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownText {
    Keep,
    Drop,
    Refuse,
}

/// Kinds of fields.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum KindText {
    Uuid,
    String,
    Integer,
    Number,
    Decimal,
    Boolean,
    Timestamp,
    Date,
    Json,
    Object,
    Array,
}

/// One field with its rules; absent rules are left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldText {
    pub name: String,
    pub path: String,
    pub kind: KindText,
    #[serde(default)]
    pub required: bool,
    #[serde(rename = "enum")]
    pub allowed: Option<Vec<String>>,
    pub pattern: Option<String>,
    pub format: Option<String>,
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub minimum: Option<String>,
    pub maximum: Option<String>,
    #[serde(default)]
    pub exclusive_minimum: bool,
    #[serde(default)]
    pub exclusive_maximum: bool,
    pub precision: Option<u8>,
    pub scale: Option<u8>,
    pub unit: Option<String>,
    pub zone: Option<String>,
    pub min_items: Option<usize>,
    pub max_items: Option<usize>,
    #[serde(default)]
    pub fields: Vec<FieldText>,
    pub items: Option<Box<FieldText>>,
}

impl FieldText {
    /// Drops every rule of values; types, times and what is required stay.
    pub fn relax(&mut self) {
        (self.allowed, self.pattern, self.format) = (None, None, None);
        (self.min_length, self.max_length, self.min_items, self.max_items) = (None, None, None, None);
        (self.minimum, self.maximum, self.exclusive_minimum, self.exclusive_maximum) = (None, None, false, false);
        self.fields.iter_mut().chain(self.items.as_deref_mut()).for_each(FieldText::relax);
    }
}
