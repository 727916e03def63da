//! Settings as YAML 1.2: the sections of TOML as mappings, `caches` as a list of them. Aliases are
//! refused, so that a small file cannot stand for a large one.

use super::{Document, line_of, syntax};
use crate::config::given::{Given, Value};
use crate::config::problem::{Origin, Problem};
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use std::collections::BTreeSet;
use std::path::Path;

/// How deep mappings and lists may stand in each other. No setting goes deeper than four.
const DEPTH_MAX: usize = 16;

/// Reads the text of a file that would stand at `path`; beside it, names that stand twice in one
/// mapping, of which the first counts.
///
/// # Errors
///
/// The place where it is not YAML.
pub fn read(path: &Path, text: &str) -> Result<(Document, Vec<Problem>), Box<Problem>> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        path,
        twice: Vec::new(),
    };
    let document = reader.document()?;
    Ok((document, reader.twice))
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    path: &'a Path,
    twice: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Document, Problem> {
        let mut document = Document::new();
        let mut documents = 0;
        loop {
            let (event, line) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(document),
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if documents > 0 => {
                    return Err(self.problem(line, "a second document", "keep one document"));
                }
                Event::DocumentStart(_) => documents += 1,
                Event::MappingStart(..) => {
                    for (name, given) in self.mapping(0)? {
                        let origin = given.origin.clone();
                        document.push((name, origin, empty_section(given)));
                    }
                }
                Event::Scalar(text, style, ..) if is_nothing(&text, style) => {}
                _ => {
                    let what = "something else than sections with settings";
                    return Err(self.problem(line, what, "write sections such as discovery:"));
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, usize), Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => {
                let line = error.marker().line();
                Err(syntax(self.path, line, "YAML", error.info()))
            }
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn value(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Value, Problem> {
        if depth > DEPTH_MAX {
            let cure = "settings do not stand so deep; look at the indentation";
            return Err(self.problem(line, "too deep", cure));
        }
        match event {
            Event::Scalar(text, style, _, tag) => self.scalar(&text, style, tag.as_deref(), line),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    let (event, line) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        return Ok(Value::List(list));
                    }
                    let value = self.value(event, line, depth + 1)?;
                    list.push(Given {
                        value,
                        origin: self.origin(line),
                    });
                }
            }
            Event::MappingStart(..) => Ok(Value::Table(self.mapping(depth)?)),
            Event::Alias(_) => {
                let cure = "write what it stands for instead";
                Err(self.problem(line, "an alias, which is not read here", cure))
            }
            _ => Err(self.problem(line, "no value", "mend the syntax here")),
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(String, Given)>, Problem> {
        let mut entries = Vec::new();
        let mut names = BTreeSet::new();
        loop {
            let (event, line) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => {
                    let what = "a name that is not a plain word";
                    return Err(self.problem(line, what, "write name: value"));
                }
            };
            let (event, value_line) = self.next()?;
            let value = self.value(event, value_line, depth + 1)?;
            if names.insert(name.clone()) {
                let origin = self.origin(line);
                entries.push((name, Given { value, origin }));
            } else {
                let shown: String = name.chars().take(60).collect();
                let what = format!("`{shown}` given twice in one place");
                let problem = self.problem(line, &what, "keep one of them");
                self.twice.push(problem);
            }
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        line: usize,
    ) -> Result<Value, Problem> {
        match tag {
            None if style == ScalarStyle::Plain => Ok(plain(text)),
            None => Ok(Value::Text(text.to_owned())),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                Ok(Value::Text(text.to_owned()))
            }
            Some(_) => {
                let what = "a tag, which is not read here";
                Err(self.problem(line, what, "take it out"))
            }
        }
    }

    fn origin(&self, line: usize) -> Origin {
        line_of(self.path, line)
    }

    fn problem(&self, line: usize, what: &str, cure: &str) -> Problem {
        Problem {
            origin: self.origin(line),
            setting: String::new(),
            what: what.to_owned(),
            cure: cure.to_owned(),
        }
    }
}

/// A section of which only the name was written has no settings.
fn empty_section(given: Given) -> Given {
    match given.value {
        Value::Other(NOTHING) => Given {
            value: Value::Table(Vec::new()),
            ..given
        },
        _ => given,
    }
}

const NOTHING: &str = "nothing";

fn is_nothing(text: &str, style: ScalarStyle) -> bool {
    style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A value without quotation marks, by YAML's core schema.
fn plain(text: &str) -> Value {
    if is_nothing(text, ScalarStyle::Plain) {
        return Value::Other(NOTHING);
    }
    match text {
        "true" | "True" | "TRUE" => return Value::Boolean(true),
        "false" | "False" | "FALSE" => return Value::Boolean(false),
        _ => {}
    }
    let radix = [("0x", 16), ("0o", 8)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((text.strip_prefix(prefix)?, radix)));
    let (digits, radix) = radix.unwrap_or((text, 10));
    let unsigned = digits.trim_start_matches(['+', '-']);
    let whole = digits.len() - unsigned.len() <= 1
        && !unsigned.is_empty()
        && unsigned.chars().all(|digit| digit.is_digit(radix));
    if whole {
        return i64::from_str_radix(digits, radix)
            .map_or(Value::Other("a number out of range"), Value::Integer);
    }
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if text.chars().all(number) && text.parse::<f64>().is_ok() {
        return Value::Other("a fraction");
    }
    Value::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        let (document, _) = read(Path::new("a.yaml"), &format!("a: {text}\n")).expect(text);
        document[0].2.value.clone()
    }

    #[test]
    fn scalars_are_what_yaml_says() {
        for (text, expected) in [
            ("5", Value::Integer(5)),
            ("-1", Value::Integer(-1)),
            ("0x10", Value::Integer(16)),
            (
                "99999999999999999999",
                Value::Other("a number out of range"),
            ),
            ("1.5", Value::Other("a fraction")),
            ("true", Value::Boolean(true)),
            ("\"true\"", Value::Text("true".to_owned())),
            ("'5'", Value::Text("5".to_owned())),
            ("!!str 5", Value::Text("5".to_owned())),
            ("2s", Value::Text("2s".to_owned())),
            ("no", Value::Text("no".to_owned())),
            ("10.0.0.1", Value::Text("10.0.0.1".to_owned())),
            ("localhost:1..2", Value::Text("localhost:1..2".to_owned())),
            ("~", Value::Table(Vec::new())),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn what_no_settings_file_needs_is_refused_with_its_line() {
        let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
        for (text, line, word) in [
            ("a: &x 1\nb: *x", 2, "an alias"),
            ("a: 1\na: 2", 2, "given twice"),
            ("a: 1\n---\nb: 2", 2, "a second document"),
            ("- a", 1, "something else than sections"),
            ("? [a]\n: b", 1, "not a plain word"),
            ("a: !!binary aGk=", 1, "a tag"),
            (&deep, 1, "too deep"),
            ("a: [1, 2\nb: 3", 2, "not YAML"),
            ("a:\n\t- b", 2, "not YAML"),
        ] {
            let said = match read(Path::new("a.yaml"), text) {
                Ok((_, twice)) => twice[0].to_string(),
                Err(problem) => problem.to_string(),
            };
            assert!(
                said.starts_with(&format!("a.yaml:{line}: ")),
                "{text}: {said}"
            );
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    #[test]
    fn empty_files_are_empty() {
        for text in ["", "# nothing\n", "---\n", "~\n", "{}"] {
            let nothing = Ok((Vec::new(), Vec::new()));
            assert_eq!(read(Path::new("a.yaml"), text), nothing, "{text}");
        }
    }
}
