//! Where the cells of a row stand in the record: columns by name, `properties.price` below the object `properties`.

use std::collections::HashSet;

use crate::contract::{Kind, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::process::spell::quoted;

/// A member of a record or of an object in it.
#[derive(Debug)]
pub enum Member {
    /// The cell of a column.
    Cell {
        /// `"name":`
        key: Vec<u8>,
        /// Column of the row.
        column: usize,
        /// What the contract has there; None: nothing.
        kind: Option<Kind>,
        /// Which field of its object that is.
        field: Option<usize>,
    },
    /// An object with some column below it.
    Object {
        /// `"name":`
        key: Vec<u8>,
        /// Number of its node.
        number: usize,
        /// Which field of its object it is.
        field: usize,
        /// Whether it must be there.
        required: bool,
        /// Its members.
        members: Vec<Member>,
    },
}

impl Member {
    /// The contract's field that it is.
    pub fn field(&self) -> Option<usize> {
        match self {
            Member::Cell { field, .. } => *field,
            Member::Object { field, .. } => Some(*field),
        }
    }
}

/// The members of the record: those of the contract in its order, then the others in order of columns.
#[derive(Debug)]
pub struct Layout {
    /// Members of the record.
    pub members: Vec<Member>,
    /// Names of the columns.
    pub columns: Vec<String>,
}

/// Where a column stands: the objects on the way, then a name.
struct Place<'a> {
    node: usize,
    name: &'a str,
    field: Option<usize>,
}

fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    quoted(name.as_bytes(), &mut key);
    key.push(b':');
    key
}

impl Layout {
    /// Places columns by their names.
    ///
    /// Errors: `body.invalid_csv` for a name that stands twice, or names both an object and what is in it.
    pub fn new(plan: &Plan, columns: Vec<String>) -> Result<Layout> {
        let places: Vec<Place> = columns.iter().map(|name| place(plan, 0, name)).collect();
        let mut taken = HashSet::new();
        if let Some(place) = places.iter().find(|place| !taken.insert((place.node, place.name))) {
            return Err(twice(place.name));
        }
        let members = members(plan, &places, 0)?;
        Ok(Layout { members, columns })
    }

    /// Name of the column at the JSON pointer of a violation, or of the column whose JSON holds that place.
    pub fn column_at(&self, pointer: &str) -> Option<&str> {
        let mut steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
        let mut members = &self.members;
        loop {
            let name = key(&steps.next()?);
            match members
                .iter()
                .find(|member| matches!(member, Member::Cell { key, .. } | Member::Object { key, .. } if *key == name))?
            {
                Member::Cell { column, .. } => return self.columns.get(*column).map(String::as_str),
                Member::Object { members: below, .. } => members = below,
            }
        }
    }
}

fn twice(name: &str) -> Error {
    Error::new(ErrorKind::Body, "body.invalid_csv", format!("column {name:?} stands more than once in the header"))
        .hint("give each column a name of its own")
        .text("name", name)
}

/// Where a name leads from a node: to a field of this name, else below the first object that its dots name.
fn place<'a>(plan: &Plan, node: usize, name: &'a str) -> Place<'a> {
    if let Some(field) = plan.nodes[node].find(name.as_bytes()) {
        return Place { node, name, field: Some(field) };
    }
    let below = name.match_indices('.').find_map(|(at, _)| {
        let field = plan.nodes[node].find(&name.as_bytes()[..at])?;
        match plan.nodes[node].fields[field].kind {
            Kind::Object(number) => Some(place(plan, number, &name[at + 1..])),
            _ => None,
        }
    });
    below.unwrap_or(Place { node, name, field: None })
}

fn members(plan: &Plan, places: &[Place], node: usize) -> Result<Vec<Member>> {
    let mut made = Vec::new();
    for (at, field) in plan.nodes[node].fields.iter().enumerate() {
        let below = match field.kind {
            Kind::Object(number) => members(plan, places, number)?,
            _ => Vec::new(),
        };
        let column = places.iter().position(|place| place.node == node && place.field == Some(at));
        match (column, field.kind) {
            (Some(_), _) if !below.is_empty() => return Err(twice(&field.name)),
            (Some(column), kind) => {
                made.push(Member::Cell { key: key(&field.name), column, kind: Some(kind), field: Some(at) });
            }
            (None, Kind::Object(number)) if !below.is_empty() => {
                let required = field.required;
                made.push(Member::Object { key: key(&field.name), number, field: at, required, members: below });
            }
            _ => {} // no column leads here
        }
    }
    let unknown = places.iter().enumerate().filter(|(_, place)| place.node == node && place.field.is_none());
    made.extend(unknown.map(|(column, place)| Member::Cell { key: key(place.name), column, kind: None, field: None }));
    Ok(made)
}
