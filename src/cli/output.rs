//! What commands print: a table for people, or one JSON document for programs.

use bytes::Bytes;
use clap::ValueEnum;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// A table with these headings.
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headings);
    table
}

/// Prints a line; a reader that went away is not an error.
pub fn line(text: impl std::fmt::Display) {
    try_line(text);
}

/// Prints a line. False: the reader went away, and there is no point in going on.
pub fn try_line(text: impl std::fmt::Display) -> bool {
    written(writeln!(io::stdout().lock(), "{text}"))
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Why something could not be printed, other than that the reader went away.
static LOST: OnceLock<String> = OnceLock::new();

fn written(result: io::Result<()>) -> bool {
    if let Err(error) = &result
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // The first one is the one that is told.
        let _ = LOST.set(error.to_string());
    }
    result.is_ok()
}

/// Why the output of this command is not whole.
pub fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

/// Says something beside the answer, to whoever reads it.
pub fn remark(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says something beside the answer, to people only: on standard error, where that is a terminal.
pub fn aside(text: impl std::fmt::Display) {
    let mut errors = io::stderr().lock();
    if errors.is_terminal() {
        let _ = writeln!(errors, "{text}");
    }
}

/// Prints a JSON document.
pub fn json(document: &Value) {
    line(format_args!("{document:#}"));
}

/// Prints a JSON document on one line, as one of many. False: the reader went away.
pub fn json_line(document: &Value) -> bool {
    try_line(document)
}

/// Bytes for people: text as it is, but for what would move the cursor or more, and hexadecimal
/// digits of what is no text.
pub fn text(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return format!("0x{}", hex(bytes));
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The beginning of a text of more than so many characters.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Bytes as JSON: text where they are text, else a list of their hexadecimal digits under `hex`.
pub fn bytes_as_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from their hexadecimal digits.
///
/// # Errors
///
/// What is wrong with them.
pub fn from_hex(text: &str) -> Result<Bytes, String> {
    let digit = |digit: u8| (digit as char).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    bytes
        .map(Bytes::from)
        .ok_or_else(|| "not pairs of hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_come_back_as_they_went() {
        assert_eq!(
            from_hex(&hex(&[0, 0xab, 0xff])),
            Ok(Bytes::from_static(&[0, 0xab, 0xff]))
        );
        assert!(from_hex("abc").is_err());
        assert!(from_hex("zz").is_err());
    }

    #[test]
    fn what_is_shown_cannot_command_a_terminal() {
        assert_eq!(text("a\x1b[31mb\n".as_bytes()), "a\\u{1b}[31mb\\n");
        assert_eq!(text(&[0xff]), "0xff");
        assert_eq!(shortened("abcd", 3), "abc…");
        assert_eq!(shortened("abc", 3), "abc");
    }

    #[test]
    fn bytes_that_are_no_text_are_given_in_hexadecimal() {
        assert_eq!(bytes_as_json(b"alice"), json!("alice"));
        assert_eq!(bytes_as_json(&[0xff, 0x01]), json!({ "hex": "ff01" }));
    }
}
