//! Plain files read page by page: columns alone or in objects, of the common types and encodings, straight from the bytes of their
//! pages.
//!
//! Law: whatever this road reads, the `parquet` crate reads with the same values. Anything odd, be it rare or broken, ends this
//! road, and the crate's says what it is.

mod column;
mod hybrid;
mod laid;
mod sink;
mod texts;
mod uuids;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use bytes::Bytes;
use parquet::basic::{Encoding, Type as Physical};
use parquet::file::metadata::ParquetMetaData;

use crate::contract::{Kind, Plan};
use column::{Column, Validity};
use sink::{Booleans, Fixed, Sink};
use texts::Texts;
use uuids::Uuids;

/// What this road does not read.
#[derive(Debug)]
pub struct Odd;

/// A file's rows.
pub struct Rows {
    columns: Vec<Column>,
    roots: Vec<Place>,
    left: usize,
}

/// A field of the file.
enum Place {
    /// A column by its number.
    Leaf(FieldRef, usize),
    Object {
        field: FieldRef,
        below: Vec<Place>,
        /// The column that knows which objects are null, and where; None where none can be.
        nulls: Option<(usize, usize)>,
    },
}

impl Rows {
    /// The rows of a file with such a schema; None where this road does not read some column. UUIDs of the contract that the file has
    /// as texts become 16 bytes, unless there is a text among those of a batch that is none.
    pub fn open(plan: &Plan, file: &Bytes, metadata: &Arc<ParquetMetaData>, schema: &Schema) -> Option<Rows> {
        let mut builder = Builder { plan, file: Arc::new(file.clone()), metadata, columns: Vec::new() };
        let roots = builder.places(schema.fields(), Some(Kind::Object(0)), 0)?;
        let Builder { columns, .. } = builder;
        // A row group without rows may still have pages: the crate's road looks at them.
        let rows = |sum: usize, count: i64| sum.checked_add(usize::try_from(count).ok().filter(|count| *count > 0)?);
        let left = metadata.row_groups().iter().map(|group| group.num_rows()).try_fold(0, rows)?;
        (columns.len() == metadata.file_metadata().schema_descr().num_columns()).then_some(Rows { columns, roots, left })
    }

    /// The next rows, at most so many; None at the end. After an error no more can be read.
    pub fn batch(&mut self, most: usize) -> Result<Option<RecordBatch>, Odd> {
        let rows = self.left.min(most);
        if rows == 0 {
            return Ok(None);
        }
        self.left -= rows;
        // The reader of pages panics on some lies of a footer.
        catch_unwind(AssertUnwindSafe(|| self.read(rows))).unwrap_or(Err(Odd)).map(Some)
    }

    fn read(&mut self, rows: usize) -> Result<RecordBatch, Odd> {
        let read = self.roots.iter().map(|place| place.read(&mut self.columns, rows)).collect::<Result<Vec<_>, Odd>>()?;
        let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = read.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(|_| Odd)
    }
}

impl Place {
    fn read(&self, columns: &mut [Column], rows: usize) -> Result<(FieldRef, ArrayRef), Odd> {
        let (field, array): (&FieldRef, ArrayRef) = match self {
            Place::Leaf(field, at) => (field, columns[*at].read(rows, field.data_type())?),
            Place::Object { field, below, nulls } => {
                let read = below.iter().map(|place| place.read(columns, rows)).collect::<Result<Vec<_>, Odd>>()?;
                let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = read.into_iter().unzip();
                let nulls = nulls.and_then(|(column, at)| columns[column].around[at].finish());
                (field, Arc::new(StructArray::try_new(Fields::from(fields), arrays, nulls).map_err(|_| Odd)?))
            }
        };
        Ok((Arc::new(Field::new(field.name(), array.data_type().clone(), field.is_nullable())), array))
    }
}

struct Builder<'a> {
    plan: &'a Plan,
    file: Arc<Bytes>,
    metadata: &'a Arc<ParquetMetaData>,
    columns: Vec<Column>,
}

impl Builder<'_> {
    /// Fields of an object, `target` in the contract; `level` of it and those around it may be null.
    fn places(&mut self, fields: &Fields, target: Option<Kind>, level: u32) -> Option<Vec<Place>> {
        let below = |name: &str| {
            let Some(Kind::Object(number)) = target else { return None };
            let node = &self.plan.nodes[number];
            node.find(name.as_bytes()).map(|field| node.fields[field].kind)
        };
        let targets: Vec<Option<Kind>> = fields.iter().map(|field| below(field.name())).collect();
        fields.iter().zip(targets).map(|(field, target)| self.place(field, target, level)).collect()
    }

    fn place(&mut self, field: &FieldRef, target: Option<Kind>, level: u32) -> Option<Place> {
        let (level, first) = (level + u32::from(field.is_nullable()), self.columns.len());
        if let DataType::Struct(fields) = field.data_type() {
            let below = self.places(fields, target, level)?;
            let around = &mut self.columns.get_mut(first)?.around;
            let nulls = field.is_nullable().then(|| {
                around.push(Validity::new(level));
                (first, around.len() - 1)
            });
            return Some(Place::Object { field: Arc::clone(field), below, nulls });
        }
        let schema = self.metadata.file_metadata().schema_descr();
        if first >= schema.num_columns() {
            return None;
        }
        let column = schema.column(first);
        if column.max_rep_level() != 0 || u32::try_from(column.max_def_level()) != Ok(level) || !self.is_plain(first) {
            return None;
        }
        let sink = sink(field.data_type(), column.physical_type(), target)?;
        self.columns.push(Column::new(Arc::clone(&self.file), Arc::clone(self.metadata), first, level, sink));
        Some(Place::Leaf(Arc::clone(field), first))
    }

    /// Whether no page of a column need be in an encoding that this road does not read.
    fn is_plain(&self, column: usize) -> bool {
        let other = |encoding: Encoding| {
            matches!(
                encoding,
                Encoding::DELTA_BINARY_PACKED
                    | Encoding::DELTA_LENGTH_BYTE_ARRAY
                    | Encoding::DELTA_BYTE_ARRAY
                    | Encoding::BYTE_STREAM_SPLIT
            )
        };
        !self.metadata.row_groups().iter().any(|group| group.column(column).encodings().any(other))
    }
}

/// What takes the values of a column; None where this road does not read them.
fn sink(kind: &DataType, physical: Physical, target: Option<Kind>) -> Option<Box<dyn Sink + Send>> {
    Some(match (kind, physical) {
        (DataType::Utf8, Physical::BYTE_ARRAY) => match target {
            Some(Kind::Uuid(_)) => Box::new(Uuids::new()),
            target => Box::new(Texts::new(matches!(target, None | Some(Kind::Text(_))))),
        },
        (DataType::Int32 | DataType::UInt32 | DataType::Date32, Physical::INT32) => Box::new(Fixed::<i32>::default()),
        (DataType::Int64 | DataType::UInt64 | DataType::Timestamp(..), Physical::INT64) => Box::new(Fixed::<i64>::default()),
        (DataType::Float32, Physical::FLOAT) => Box::new(Fixed::<f32>::default()),
        (DataType::Float64, Physical::DOUBLE) => Box::new(Fixed::<f64>::default()),
        (DataType::Boolean, Physical::BOOLEAN) => Box::new(Booleans::default()),
        (DataType::FixedSizeBinary(16), Physical::FIXED_LEN_BYTE_ARRAY) => Box::new(Fixed::<i128>::default()),
        _ => return None,
    })
}
