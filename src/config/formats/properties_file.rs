//! Settings as a Java properties file: `name=value` lines, with the comments, continued lines and
//! escapes that Java reads. Text is UTF-8 where it is that, else Latin-1, as Java has it.

use super::{line_of, syntax};
use crate::config::problem::{Origin, Problem};
use java_properties::{LineContent, PropertiesIter};
use std::path::Path;

/// What every name of ours begins with; other names are somebody else's.
pub const PREFIX: &str = "cas.ticket.registry.ignite.";

/// One line of ours, or several that continue each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The name behind the prefix.
    pub name: String,
    /// The value without the blanks in front of it.
    pub value: String,
    /// Where it begins.
    pub origin: Origin,
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Those with the prefix, in the order of the file.
    pub ours: Vec<Property>,
    /// How many had another name.
    pub ignored: usize,
}

/// One step of a name such as `caches[0].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// As it was written.
    pub name: &'a str,
    /// What stands in brackets behind it.
    pub index: Option<&'a str>,
}

/// Reads the text of a file that would stand at `path`.
///
/// # Errors
///
/// The first place where it is not a properties file.
pub fn read(path: &Path, text: &str) -> Result<Properties, Problem> {
    let mut found = Properties::default();
    // A backslash at the very end continues into nothing; without a line there, the parser would
    // drop what stands before it.
    let input = std::io::Read::chain(text.as_bytes(), &b"\n"[..]);
    // Latin-1 was made UTF-8 when the file was read.
    for line in PropertiesIter::new_with_encoding(input, encoding_rs::UTF_8) {
        let line = line.map_err(|error| {
            let place = error.line_number().unwrap_or(0);
            // The message alone, which does not show the line.
            let why = error.to_string();
            let why = why.split(" (line").next().unwrap_or_default();
            syntax(path, place, "a properties file", why)
        })?;
        let origin = line_of(path, line.line_number());
        let LineContent::KVPair(name, value) = line.consume_content() else {
            continue;
        };
        match behind_prefix(&name) {
            Some(rest) => found.ours.push(Property {
                name: rest.to_owned(),
                value,
                origin,
            }),
            None => found.ignored += 1,
        }
    }
    Ok(found)
}

fn behind_prefix(name: &str) -> Option<&str> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    (prefix.eq_ignore_ascii_case(PREFIX) && !rest.is_empty()).then_some(rest)
}

/// The steps of a name; `None` where its brackets are not in pairs at the end of a step.
pub fn steps(name: &str) -> Option<Vec<Step<'_>>> {
    let step = |text| -> Option<Step<'_>> {
        let (name, index) = match str::split_once(text, '[') {
            None => (text, None),
            Some((name, rest)) => (name, Some(rest.strip_suffix(']')?)),
        };
        let plain = |text: &str| !text.contains(['[', ']']);
        (plain(name) && index.is_none_or(plain) && !name.is_empty()).then_some(Step { name, index })
    };
    name.split('.').map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let found = read(Path::new("a.properties"), text).expect(text);
        let line = |origin: &Origin| match origin {
            Origin::File { line, .. } => *line,
            _ => 0,
        };
        found
            .ours
            .iter()
            .map(|one| (one.name.clone(), one.value.clone(), line(&one.origin)))
            .collect()
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text = format!(
            "# a comment \\\n! another\n{PREFIX}a = b\\\n   c\n\n  {PREFIX}d:e\n{PREFIX}f g h\n\
             {PREFIX}k\\ l=m\\t\\u00fc\\\\\n{PREFIX}n\nserver.port=80\n{PREFIX}=x\n\
             CAS.ticket.registry.ignite.o=p=q#r\r\n{PREFIX}last=end\\"
        );
        let expected = [
            ("a", "bc", 3),
            ("d", "e", 6),
            ("f", "g h", 7),
            ("k l", "m\t\u{fc}\\", 8),
            ("n", "", 9),
            ("o", "p=q#r", 12),
            ("last", "end", 13),
        ]
        .map(|(name, value, line)| (name.to_owned(), value.to_owned(), line));
        assert_eq!(pairs(&text), expected);
        let found = read(Path::new("a.properties"), &text).expect("a file");
        assert_eq!(found.ignored, 2);
    }

    #[test]
    fn broken_escapes_are_refused_with_their_line() {
        for text in ["\n\na=\\u12", "\n\na=\\uzzzz", "\n\na=\\ud800"] {
            let problem = read(Path::new("a.properties"), text).expect_err(text);
            let said = problem.to_string();
            assert!(
                said.starts_with("a.properties:3: not a properties file: "),
                "{said}"
            );
        }
    }

    #[test]
    fn names_have_steps() {
        let all = |name: &str| -> Option<Vec<(String, Option<String>)>> {
            let own = |step: Step<'_>| (step.name.to_owned(), step.index.map(str::to_owned));
            steps(name).map(|steps| steps.into_iter().map(own).collect())
        };
        let step = |name: &str, index: Option<&str>| (name.to_owned(), index.map(str::to_owned));
        assert_eq!(all("a"), Some(vec![step("a", None)]));
        assert_eq!(
            all("a[0].b"),
            Some(vec![step("a", Some("0")), step("b", None)])
        );
        for name in ["", "a..b", "a[0", "a]", "a[0]b", "[0]", "a[[0]]"] {
            assert_eq!(all(name), None, "{name}");
        }
    }
}
