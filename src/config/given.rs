//! What was given, before it means anything: values with their origin, by section and name, and
//! the reader that turns them into numbers, durations and choices and reports what does not fit.

use super::formats::Format;
use super::problem::{Origin, Problem};
use super::{duration, size};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The most entries in one list or table of the settings.
pub const ENTRIES_MAX: usize = 4096;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text of a file that has types.
    Text(String),
    /// Text of the environment or a flag, which may mean anything.
    Loose(String),
    /// The same of a properties file, where a bare number is a duration in milliseconds.
    Property(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// Several values.
    List(Vec<Given>),
    /// Names that the user chose, with values.
    Table(Vec<(String, Given)>),
    /// Something that no setting takes, by its name.
    Other(&'static str),
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub origin: Origin,
}

/// The findings so far.
#[derive(Debug, Default)]
pub struct Report {
    /// What stops the node from starting.
    pub problems: Vec<Problem>,
    /// What does not.
    pub warnings: Vec<Problem>,
}

/// The settings of one section (or one cache) by their name in kebab-case.
pub type Table = BTreeMap<&'static str, Given>;

/// Reads one section and reports what does not fit.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The section as messages show it, such as `discovery` or `caches[0]`.
    section: String,
    given: &'a Table,
    report: &'a mut Report,
}

impl Value {
    /// What it is, for messages; never the value itself, which may be a secret.
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Loose(_) | Self::Property(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Loose(text) | Self::Property(text) => Some(text),
            _ => None,
        }
    }

    /// Text without a type of its own: true, 5 and 2s are all written alike.
    fn untyped(&self) -> Option<&str> {
        match self {
            Self::Loose(text) | Self::Property(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// How to write a value such as `example`: with quotation marks where the form has types.
    fn form(&self, what: &str, examples: &[&str]) -> String {
        let marks = if self.untyped().is_some() { "" } else { "\"" };
        let examples: Vec<String> = examples
            .iter()
            .map(|example| format!("{marks}{example}{marks}"))
            .collect();
        let text = match examples.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => examples.concat(),
        };
        format!("write {what}, such as {text}")
    }
}

impl<'a> Reader<'a> {
    /// A reader for what was given of one section.
    pub fn new(section: impl Into<String>, given: &'a Table, report: &'a mut Report) -> Self {
        Self {
            section: section.into(),
            given,
            report,
        }
    }

    /// A reader of something inside of the section.
    pub fn inner<'b>(&'b mut self, section: String, given: &'b Table) -> Reader<'b> {
        Reader {
            section,
            given,
            report: self.report,
        }
    }

    /// Whether a setting is this word.
    pub fn is_word(&self, name: &str, word: &str) -> bool {
        let given = self.given.get(name).and_then(|given| given.value.text());
        given.is_some_and(|text| text.trim().eq_ignore_ascii_case(word))
    }

    /// Whether the setting was given at all.
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Where the setting was given.
    pub fn origin(&self, name: &str) -> Origin {
        self.given
            .get(name)
            .map(|given| given.origin.clone())
            .unwrap_or_default()
    }

    /// How a setting of this section is written in the file that gives most of it, such as
    /// `cache-mode = "LOCAL"` in TOML.
    pub fn assignment(&self, name: &str, value: &str) -> String {
        let file = self.given.values().find_map(|given| match &given.origin {
            Origin::File { path, .. } => Format::of(path).ok(),
            _ => None,
        });
        match file {
            Some(Format::Toml) => format!("{name} = \"{value}\""),
            Some(Format::Yaml) => format!("{name}: {value}"),
            Some(Format::Properties) | None => format!("{name}={value}"),
        }
    }

    /// Whether the setting was given and could not be read as what it is.
    pub fn misread<T>(&self, name: &str, read: &Option<T>) -> bool {
        read.is_none() && self.has(name)
    }

    /// Reports a problem with a setting.
    pub fn problem(&mut self, name: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.problem_at(name, None, what, cure);
    }

    /// Reports something about a setting that does not stop the node.
    pub fn warning(&mut self, name: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.warning_at(name, None, what, cure);
    }

    /// Reports a problem with one entry of a setting, which may stand on a line of its own.
    pub fn problem_at(
        &mut self,
        name: &str,
        origin: Option<Origin>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let origin = origin.unwrap_or_else(|| self.origin(name));
        let problem = self.finding(name, origin, what.into(), cure.into());
        self.report.problems.push(problem);
    }

    /// The same about something that does not stop the node.
    pub fn warning_at(
        &mut self,
        name: &str,
        origin: Option<Origin>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let origin = origin.unwrap_or_else(|| self.origin(name));
        let warning = self.finding(name, origin, what.into(), cure.into());
        self.report.warnings.push(warning);
    }

    /// Refuses a setting that is known but not in this version.
    pub fn not_yet(&mut self, name: &str, what: &str, cure: &str) {
        self.problem(name, format!("{what} not in this version"), cure);
    }

    fn finding(&self, name: &str, origin: Origin, what: String, cure: String) -> Problem {
        let setting = if name.is_empty() {
            self.section.clone()
        } else {
            format!("{}.{name}", self.section)
        };
        Problem {
            origin,
            setting,
            what,
            cure,
        }
    }

    fn mismatch<T>(&mut self, name: &str, given: &Given, expected: &str, cure: &str) -> Option<T> {
        let what = format!("{} where {expected} belongs", given.value.kind());
        let problem = self.finding(name, given.origin.clone(), what, cure.to_owned());
        self.report.problems.push(problem);
        None
    }

    /// A text of this many bytes without control characters.
    pub fn text(&mut self, name: &str, bytes: RangeInclusive<usize>) -> Option<String> {
        let given = self.given.get(name)?;
        let Some(text) = given.value.text() else {
            return self.mismatch(name, given, "a text", "write it in quotation marks");
        };
        if !bytes.contains(&text.len()) || text.chars().any(char::is_control) {
            let cure = format!("write {} to {} bytes", bytes.start(), bytes.end());
            self.problem(
                name,
                "a text that is empty, too long or has control characters",
                cure,
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// True or false.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        let given = self.given.get(name)?;
        match &given.value {
            Value::Boolean(value) => Some(*value),
            value
                if value
                    .untyped()
                    .is_some_and(|text| text.eq_ignore_ascii_case("true")) =>
            {
                Some(true)
            }
            value
                if value
                    .untyped()
                    .is_some_and(|text| text.eq_ignore_ascii_case("false")) =>
            {
                Some(false)
            }
            _ => self.mismatch(
                name,
                given,
                "true or false",
                "write true or false, unquoted",
            ),
        }
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, name: &str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let given = self.given.get(name)?;
        let cure = format!(
            "write a whole number from {} to {}",
            bounds.start(),
            bounds.end()
        );
        let number = match &given.value {
            Value::Integer(number) => Some(*number),
            value => value.untyped().and_then(|text| text.parse().ok()),
        };
        let Some(number) = number else {
            return self.mismatch(name, given, "a whole number", &cure);
        };
        if bounds.contains(&number) {
            return Some(number);
        }
        self.problem(name, format!("{number} is out of bounds"), cure);
        None
    }

    /// A whole number within bounds, never negative.
    pub fn count(&mut self, name: &str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let bounds = i64::from(*bounds.start())..=i64::from(*bounds.end());
        self.integer(name, bounds)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// A duration within bounds.
    pub fn duration(&mut self, name: &str, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let given = self.given.get(name)?;
        let (least, most) = (
            duration::show(*bounds.start()),
            duration::show(*bounds.end()),
        );
        let form = given
            .value
            .form("a number with its unit", &["2s", "500ms", "PT2S"]);
        let form = format!("{form}, from {least} to {most}");
        let text = match &given.value {
            Value::Property(text) => milliseconds(text),
            Value::Integer(number) => number.to_string(),
            value => match value.text() {
                Some(text) => text.to_owned(),
                None => return self.mismatch(name, given, "a duration", &form),
            },
        };
        let (least, most) = (
            duration::show(*bounds.start()),
            duration::show(*bounds.end()),
        );
        match duration::parse(&text) {
            Err(what) => self.problem(name, what, form),
            Ok(found) if bounds.contains(&found) => return Some(found),
            Ok(found) => {
                let what = format!("{} is out of bounds", duration::show(found));
                self.problem(name, what, format!("write {least} to {most}"));
            }
        }
        None
    }

    /// A size in bytes within bounds.
    pub fn size(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let given = self.given.get(name)?;
        let (least, most) = (size::show(*bounds.start()), size::show(*bounds.end()));
        let form = given.value.form("a whole number with its unit", &["64MiB"]);
        let form = format!("{form}, from {least} to {most}");
        let bytes = match &given.value {
            Value::Integer(number) => {
                u64::try_from(*number).map_err(|_| "a negative size".to_owned())
            }
            value => match value.text() {
                Some(text) => size::parse(text),
                None => return self.mismatch(name, given, "a size", &form),
            },
        };
        match bytes {
            Err(what) => self.problem(name, what, form),
            Ok(bytes) if bounds.contains(&bytes) => return Some(bytes),
            Ok(bytes) => {
                let what = format!("{} is out of bounds", size::show(bytes));
                self.problem(name, what, format!("write {least} to {most}"));
            }
        }
        None
    }

    /// One of several words, in any case.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let given = self.given.get(name)?;
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let cure = format!("write one of {}", words.join(", "));
        let Some(text) = given.value.text() else {
            return self.mismatch(name, given, "a word", &cure);
        };
        let text = text.trim();
        if let Some((_, choice)) = choices
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
        {
            return Some(*choice);
        }
        let what = format!(
            "`{}` is not known here",
            text.chars().take(40).collect::<String>()
        );
        self.problem(name, what, cure);
        None
    }

    /// A list of texts, each with its origin; a single text is split at its commas.
    pub fn list(&mut self, name: &str) -> Option<Vec<(String, Origin)>> {
        const FORM: &str = "write a list of texts, such as [\"a\", \"b\"]";
        let given = self.given.get(name)?;
        let entries = match &given.value {
            Value::Text(text) | Value::Loose(text) | Value::Property(text) => {
                let split = text.split(',');
                split
                    .map(|entry| (entry.trim().to_owned(), given.origin.clone()))
                    .collect()
            }
            Value::List(list) => {
                let mut entries = Vec::with_capacity(list.len());
                for entry in list {
                    match entry.value.text() {
                        Some(text) => entries.push((text.to_owned(), entry.origin.clone())),
                        None => return self.mismatch(name, entry, "a text", FORM),
                    }
                }
                entries
            }
            _ => return self.mismatch(name, given, "a list", FORM),
        };
        if entries.len() > ENTRIES_MAX {
            self.problem(
                name,
                "a list that is too long",
                format!("{ENTRIES_MAX} entries at most"),
            );
            return None;
        }
        Some(entries)
    }

    /// Names and values that the user chose; `name=value,name=value` where there are no tables.
    pub fn pairs(&mut self, name: &str, most: usize) -> Option<BTreeMap<String, String>> {
        const FORM: &str = "write a table of texts, such as { zone = \"a\" }";
        let given = self.given.get(name)?;
        let mut pairs = BTreeMap::new();
        match &given.value {
            Value::Table(table) => {
                for (key, value) in table {
                    let Some(text) = value.value.text() else {
                        return self.mismatch(name, value, "a text", FORM);
                    };
                    pairs.insert(key.clone(), text.to_owned());
                }
            }
            Value::Loose(text) | Value::Property(text) => {
                for pair in text.split(',') {
                    let Some((key, value)) = pair.split_once('=') else {
                        self.problem(name, "not a list of pairs", "write name=value,name=value");
                        return None;
                    };
                    pairs.insert(key.trim().to_owned(), value.trim().to_owned());
                }
            }
            _ => return self.mismatch(name, given, "a table", FORM),
        }
        let fits = |text: &String| text.len() <= 255 && !text.chars().any(char::is_control);
        let named = pairs
            .iter()
            .all(|(key, value)| !key.is_empty() && fits(key) && fits(value));
        if pairs.len() > most || !named {
            let what = "a name that is empty, a text of more than 255 bytes, control characters, \
                        or too many pairs";
            self.problem(name, what, format!("{most} pairs at most"));
            return None;
        }
        Some(pairs)
    }
}

/// A bare number of a properties file with the unit that it has there.
fn milliseconds(text: &str) -> String {
    let text = text.trim();
    let number = text.strip_prefix('-').unwrap_or(text);
    let bare = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if bare {
        format!("{text}ms")
    } else {
        text.to_owned()
    }
}
