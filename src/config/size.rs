//! Sizes as people write them: `64MiB`, `1GB`, `4096`. Whole numbers only.

use bytesize::Unit;

/// Reads a size in bytes.
///
/// # Errors
///
/// What is wrong with the text, without the text itself.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("an empty size".to_owned());
    }
    if text.starts_with('-') {
        return Err("a negative size".to_owned());
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || unit.starts_with(['.', ',']) {
        return Err("not a whole number with a unit, such as 64MiB".to_owned());
    }
    let too_large = || "a size that does not fit into 64 bits".to_owned();
    let number: u64 = number.parse().map_err(|_| too_large())?;
    if unit.is_empty() {
        return Ok(number);
    }
    let unit: Unit = unit.parse().map_err(|_| {
        "an unknown unit; known are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB".to_owned()
    })?;
    number.checked_mul(1_u64 * unit).ok_or_else(too_large)
}

/// How a size is shown; [`parse`] reads it back to the same number.
pub fn show(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_exactly() {
        for (text, bytes) in [
            ("0", 0),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1GB", 1_000_000_000),
            ("1k", 1_000),
            ("9007199254740993", 9_007_199_254_740_993),
            ("7B", 7),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 1 << 20, (1 << 20) + 1, 5 << 30] {
            assert_eq!(parse(&show(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            " ",
            "-1",
            "1.5MiB",
            "MiB",
            "64 apples",
            "99999999999999999999",
            "99999999999TiB",
            "1,5",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
