//! Settings as TOML.

use super::{Document, line_of, syntax};
use crate::config::given::{Given, Value};
use crate::config::problem::{Origin, Problem};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Reads the text of a file that would stand at `path`.
///
/// # Errors
///
/// Every place where it is not TOML.
pub fn read(path: &Path, text: &str) -> Result<Document, Vec<Problem>> {
    let lines = Lines::of(path, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // The message alone: the whole error would show the line, and a secret in it.
        let refused = errors.iter().map(|error| {
            let line = lines.line(error.span().map_or(0, |span| span.start));
            syntax(path, line, "TOML", error.message())
        });
        return Err(refused.collect());
    }
    let entries = document.into_inner().into_iter();
    Ok(entries
        .map(|(key, value)| {
            let origin = lines.origin(key.span().start);
            let value = lines.given(value.span().start, value.into_inner());
            (key.into_inner().into_owned(), origin, value)
        })
        .collect())
}

/// Turns offsets in a file into lines.
struct Lines<'a> {
    path: &'a Path,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(path: &'a Path, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            path,
            starts: breaks.map(|(offset, _)| offset + 1).collect(),
        }
    }

    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) + 1
    }

    fn origin(&self, offset: usize) -> Origin {
        line_of(self.path, self.line(offset))
    }

    fn given(&self, offset: usize, value: DeValue<'_>) -> Given {
        let value = match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Boolean(boolean) => Value::Boolean(boolean),
            DeValue::Integer(integer) => {
                let digits = integer.as_str().replace('_', "");
                i64::from_str_radix(&digits, integer.radix())
                    .map_or(Value::Other("a number out of range"), Value::Integer)
            }
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Datetime(_) => Value::Other("a point in time"),
            DeValue::Array(array) => Value::List(
                array
                    .into_iter()
                    .map(|entry| self.given(entry.span().start, entry.into_inner()))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(
                table
                    .into_iter()
                    .map(|(key, value)| {
                        let start = key.span().start;
                        (
                            key.into_inner().into_owned(),
                            self.given(start, value.into_inner()),
                        )
                    })
                    .collect(),
            ),
        };
        Given {
            value,
            origin: self.origin(offset),
        }
    }
}
