//! Writer schemas (Avro 1.12 §"Schema Declaration"), compiled to a list of shapes that name each other by number.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::process::spell::{Unit, quoted};

/// Most shapes of a schema: hostile ones end here.
const MOST_SHAPES: usize = 20_000;
/// Most bytes of a schema's text.
const MOST_BYTES: usize = 4 << 20;
/// Most levels of a schema's own text.
const MOST_LEVELS: usize = 64;

/// What a value is, beyond its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    /// Nothing more.
    None,
    /// Days since 1970.
    Date,
    /// Time of day.
    Time(Unit),
    /// Since 1970 UTC.
    Instant(Unit),
    /// Since 1970 on a clock that nobody names.
    Local(Unit),
    /// An unscaled number; digits after the point.
    Decimal(u32),
    /// Sixteen bytes.
    Uuid,
}

/// One field of a record.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `"name":`
    pub key: Vec<u8>,
    /// Its shape.
    pub shape: usize,
}

/// How a value is encoded.
#[derive(Debug)]
pub enum Shape {
    /// No bytes.
    Null,
    /// One byte.
    Boolean,
    /// A zigzag number of at most 32 bit.
    Int(Logical),
    /// A zigzag number of at most 64 bit.
    Long(Logical),
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// A length and bytes.
    Bytes(Logical),
    /// A length and text.
    String,
    /// So many bytes.
    Fixed(usize, Logical),
    /// A number; the symbols as JSON strings.
    Enum(Vec<Vec<u8>>),
    /// Blocks of items.
    Array(usize),
    /// Blocks of names and values.
    Map(usize),
    /// A number and the value of that branch.
    Union(Vec<usize>),
    /// Fields end to end.
    Record(Vec<Member>),
}

/// A writer's schema; shape 0 is the whole value.
#[derive(Debug)]
pub struct Schema {
    /// All shapes.
    pub shapes: Vec<Shape>,
    /// Shape of the whole value.
    pub root: usize,
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Body, "avro.bad_schema", message).hint("give the schema the writer used, as Avro's specification says")
}

impl Schema {
    /// Reads a schema's JSON. Errors: `avro.bad_schema` says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Schema> {
        if text.len() > MOST_BYTES {
            return Err(bad(format!("the schema has {} bytes, at most {MOST_BYTES}", text.len())));
        }
        // A schema may be the bare name of a type: a registry stores `string` as `"string"`.
        let value: Value = serde_json::from_slice(text).map_err(|error| bad(format!("the schema is not JSON: {error}")))?;
        let mut reader = Reader { shapes: Vec::new(), names: HashMap::new() };
        let root = reader.shape(&value, "", 0)?;
        Ok(Schema { shapes: reader.shapes, root })
    }
}

struct Reader {
    shapes: Vec<Shape>,
    /// Shapes of named types by full name.
    names: HashMap<String, usize>,
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

fn list<'a>(object: &'a Map<String, Value>, name: &str, of: &str) -> Result<&'a Vec<Value>> {
    object.get(name).and_then(Value::as_array).ok_or_else(|| bad(format!("{of} has no list `{name}`")))
}

/// The full name of a type and the namespace of what is inside it.
fn full_name(object: &Map<String, Value>, space: &str) -> Result<(String, String)> {
    let name = text(object, "name").ok_or_else(|| bad("a named type has no `name`"))?;
    if let Some((space, _)) = name.rsplit_once('.') {
        return Ok((name.to_string(), space.to_string()));
    }
    let space = text(object, "namespace").unwrap_or(space);
    Ok((joined(space, name), space.to_string()))
}

fn joined(space: &str, name: &str) -> String {
    if space.is_empty() { name.to_string() } else { format!("{space}.{name}") }
}

impl Reader {
    fn add(&mut self, shape: Shape) -> Result<usize> {
        if self.shapes.len() == MOST_SHAPES {
            return Err(bad(format!("the schema has more than {MOST_SHAPES} types")));
        }
        self.shapes.push(shape);
        Ok(self.shapes.len() - 1)
    }

    fn shape(&mut self, value: &Value, space: &str, level: usize) -> Result<usize> {
        if level > MOST_LEVELS {
            return Err(bad(format!("the schema is nested deeper than {MOST_LEVELS}")));
        }
        match value {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => {
                let place = self.add(Shape::Union(Vec::new()))?;
                let shapes = branches.iter().map(|branch| self.shape(branch, space, level + 1)).collect::<Result<Vec<_>>>()?;
                if shapes.is_empty() || shapes.iter().any(|shape| matches!(self.shapes[*shape], Shape::Union(_))) {
                    return Err(bad("a union has no branch, or a union as a branch"));
                }
                self.shapes[place] = Shape::Union(shapes);
                Ok(place)
            }
            Value::Object(object) => self.object(object, space, level),
            _ => Err(bad(format!("a type is {value}"))),
        }
    }

    fn named(&mut self, name: &str, space: &str) -> Result<usize> {
        if let Some(shape) = primitive(name, Logical::None) {
            return self.add(shape);
        }
        let found = self.names.get(&joined(space, name)).filter(|_| !name.contains('.')).or_else(|| self.names.get(name));
        found.copied().ok_or_else(|| bad(format!("unknown type `{name}`")))
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str, level: usize) -> Result<usize> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(inner) => return self.shape(inner, space, level + 1),
            None => return Err(bad("a type has no `type`")),
        };
        match kind {
            "record" | "error" => self.record(object, space, level),
            "enum" => {
                let symbols = list(object, "symbols", "an enum")?.iter().map(|symbol| {
                    let mut spelled = Vec::new();
                    quoted(symbol.as_str().ok_or_else(|| bad("a symbol is no text"))?.as_bytes(), &mut spelled);
                    Ok(spelled)
                });
                let shape = Shape::Enum(symbols.collect::<Result<_>>()?);
                self.define(object, space, shape)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).filter(|size| *size <= 1 << 20);
                let size = size.ok_or_else(|| bad("a fixed has no `size`, or one beyond 1 MiB"))? as usize;
                let logical = logical(object, kind).filter(|logical| *logical != Logical::Uuid || size == 16);
                self.define(object, space, Shape::Fixed(size, logical.unwrap_or(Logical::None)))
            }
            "array" | "map" => {
                let name = if kind == "array" { "items" } else { "values" };
                let inner = object.get(name).ok_or_else(|| bad(format!("{kind} without `{name}`")))?;
                let inner = self.shape(inner, space, level + 1)?;
                self.add(if kind == "array" { Shape::Array(inner) } else { Shape::Map(inner) })
            }
            name => match primitive(name, logical(object, kind).unwrap_or(Logical::None)) {
                Some(shape) => self.add(shape),
                None => self.named(name, space),
            },
        }
    }

    fn define(&mut self, object: &Map<String, Value>, space: &str, shape: Shape) -> Result<usize> {
        let (name, _) = full_name(object, space)?;
        let place = self.add(shape)?;
        match self.names.insert(name.clone(), place) {
            Some(_) => Err(bad(format!("`{name}` is defined twice"))),
            None => Ok(place),
        }
    }

    fn record(&mut self, object: &Map<String, Value>, space: &str, level: usize) -> Result<usize> {
        let place = self.define(object, space, Shape::Record(Vec::new()))?; // its fields may name it
        let (_, space) = full_name(object, space)?;
        let mut members: Vec<Member> = Vec::new();
        let mut taken = std::collections::HashSet::new();
        for field in list(object, "fields", "a record")? {
            let field = field.as_object().ok_or_else(|| bad("a field is no object"))?;
            let name = text(field, "name").ok_or_else(|| bad("a field has no `name`"))?;
            if !taken.insert(name) {
                return Err(bad(format!("the field `{name}` stands twice")));
            }
            let kind = field.get("type").ok_or_else(|| bad(format!("the field `{name}` has no `type`")))?;
            let shape = self.shape(kind, &space, level + 1)?;
            let mut key = Vec::new();
            quoted(name.as_bytes(), &mut key);
            key.push(b':');
            members.push(Member { name: name.to_string(), key, shape });
        }
        self.shapes[place] = Shape::Record(members);
        Ok(place)
    }
}

fn primitive(name: &str, logical: Logical) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "int" => Shape::Int(logical),
        "long" => Shape::Long(logical),
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes(logical),
        "string" => Shape::String,
        _ => return None,
    })
}

/// The logical type of a type it may stand on; any other is left out, as the specification asks.
fn logical(object: &Map<String, Value>, kind: &str) -> Option<Logical> {
    Some(match (text(object, "logicalType")?, kind) {
        ("date", "int") => Logical::Date,
        ("time-millis", "int") => Logical::Time(Unit::Milli),
        ("time-micros", "long") => Logical::Time(Unit::Micro),
        ("timestamp-millis", "long") => Logical::Instant(Unit::Milli),
        ("timestamp-micros", "long") => Logical::Instant(Unit::Micro),
        ("timestamp-nanos", "long") => Logical::Instant(Unit::Nano),
        ("local-timestamp-millis", "long") => Logical::Local(Unit::Milli),
        ("local-timestamp-micros", "long") => Logical::Local(Unit::Micro),
        ("local-timestamp-nanos", "long") => Logical::Local(Unit::Nano),
        ("uuid", "fixed") => Logical::Uuid,
        ("decimal", "bytes" | "fixed") => {
            let digits = |name: &str, otherwise: u64| object.get(name).map_or(Some(otherwise), Value::as_u64);
            let (precision, scale) = (digits("precision", 0)?, digits("scale", 0)?);
            if precision == 0 || scale > precision || precision > 1000 {
                return None;
            }
            Logical::Decimal(scale as u32)
        }
        _ => return None,
    })
}
