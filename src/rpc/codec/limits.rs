//! The bounds of what comes in from other nodes.

use crate::error::{Error, Result};

pub use crate::types::cache::KEY_BYTES_MAX;
/// The longest value in any cache.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// The longest name: of a cache, a node, a cluster, an attribute.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest address: a host name of 253 bytes, brackets, a port.
pub const ADDRESS_BYTES_MAX: usize = 300;
/// The longest program version.
pub const PROGRAM_VERSION_BYTES_MAX: usize = 63;
/// The most attributes of one node or in one node filter.
pub const ATTRIBUTES_MAX: usize = 64;
/// The most partitions of one cache.
pub const PARTITIONS_MAX: u32 = 65_536;
/// The most backups of one partition.
pub const BACKUPS_MAX: u32 = 65_535;
/// The most elements of one list between nodes.
pub const LIST_MAX: usize = 65_536;
/// Checks a size.
///
/// # Errors
///
/// `InvalidArgument`, naming what is too large, its size and the bound.
pub fn at_most(size: usize, most: usize, name: &str, unit: &str) -> Result<()> {
    if size <= most {
        return Ok(());
    }
    let text = format!("{name}: {size} {unit}, at most {most} are allowed");
    Err(Error::invalid(text).because("TOO_LARGE"))
}

/// Checks the name of a cache, a node or a cluster: 1 to 255 bytes.
///
/// # Errors
///
/// `InvalidArgument`, naming the field.
pub fn name(text: &str, field: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{field} is empty")));
    }
    at_most(text.len(), NAME_BYTES_MAX, field, "bytes")
}
