//! Where settings come from: a TOML file, the environment, flags. Later ones win. Names are
//! resolved here and unknown ones refused; values are only carried.

use super::catalogue;
use super::given::{Given, Report, Table, Value};
use super::problem::{Origin, Problem};
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The largest settings file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most caches that the settings may name.
pub const CACHES_MAX: usize = 256;

/// What the name of every environment variable of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "EMBERGRID_";

/// Everything that was given, by section.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The sections but `caches`.
    pub sections: BTreeMap<&'static str, Table>,
    /// The caches, each with where it begins.
    pub caches: Vec<(Origin, Table)>,
    /// What was found on the way.
    pub report: Report,
    /// Whether unknown names are warnings only.
    pub skip_validation: bool,
}

impl Gathered {
    /// What was given of a section.
    pub fn section(&self, name: &str) -> Table {
        self.sections.get(name).cloned().unwrap_or_default()
    }

    /// Reads a file.
    pub fn add_file(&mut self, path: &Path) {
        let refuse = |what: String, cure: &str| Problem {
            origin: Origin::File {
                path: path.to_path_buf(),
                line: 0,
            },
            setting: String::new(),
            what,
            cure: cure.to_owned(),
        };
        let extension = path
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase());
        let refused = match extension.as_deref() {
            Some("toml") => match read_bounded(path) {
                Ok(text) => return self.add_toml(path, &text),
                Err(what) => refuse(what, "name a readable TOML file"),
            },
            Some(form @ ("yaml" | "yml" | "properties")) => refuse(
                format!("settings in .{form} files are not in this version"),
                "write them as TOML",
            ),
            _ => refuse(
                "the format follows the extension, which is unknown".to_owned(),
                "name the file something.toml",
            ),
        };
        self.report.problems.push(refused);
    }

    /// Reads the text of a TOML file.
    pub fn add_toml(&mut self, path: &Path, text: &str) {
        let lines = Lines::of(path, text);
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // The message alone: the whole error would show the line, and a secret in it.
            self.report
                .problems
                .extend(errors.iter().map(|error| Problem {
                    origin: lines.origin(error.span().map_or(0, |span| span.start)),
                    setting: String::new(),
                    what: format!("not TOML: {}", error.message().replace('\n', ", ")),
                    cure: "mend the syntax here".to_owned(),
                }));
            return;
        }
        for (key, value) in document.into_inner() {
            let origin = lines.origin(key.span().start);
            let value = lines.given(value.span().start, value.into_inner());
            let key = key.into_inner();
            match catalogue::find_section(&key) {
                Some("caches") => self.add_caches(value),
                Some(section) => match value.value {
                    Value::Table(entries) => {
                        for (name, given) in entries {
                            self.put(section, None, &name, given);
                        }
                    }
                    _ => self.problem(
                        origin,
                        section,
                        "a value where a section belongs",
                        format!("write [{section}] and its settings below"),
                    ),
                },
                None => self.unknown(origin, key.to_string(), catalogue::suggest_section(&key)),
            }
        }
    }

    fn add_caches(&mut self, caches: Given) {
        let Value::List(caches_given) = caches.value else {
            let cure = "write [[caches]] before each cache";
            return self.problem(caches.origin, "caches", "not a list of caches", cure);
        };
        for cache in caches_given {
            let Value::Table(entries) = cache.value else {
                let cure = "write [[caches]] before each cache";
                self.problem(cache.origin, "caches", "not a cache", cure);
                continue;
            };
            let index = self.caches.len();
            if index >= CACHES_MAX {
                let cure = format!("{CACHES_MAX} caches at most");
                return self.problem(cache.origin, "caches", "too many caches", cure);
            }
            self.caches.push((cache.origin, Table::new()));
            for (name, given) in entries {
                self.put("caches", Some(index), &name, given);
            }
        }
    }

    /// Lays the environment over what was given before.
    pub fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut ours: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let ours = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_owned();
                Some((name, ours, value))
            })
            .collect();
        ours.sort();
        for (variable, name, value) in ours {
            let origin = Origin::Environment(variable.clone());
            let parts: Vec<&str> = name.split("__").collect();
            if let [whole] = parts[..] {
                // Other variables of ours have no section. A single underscore after a section
                // is more likely a typing error than something else.
                if let Some((section, rest)) = begins_with_section(whole) {
                    let cure = format!("write {ENVIRONMENT_PREFIX}{section}__{rest}");
                    self.unknown(origin, variable, cure);
                }
                continue;
            }
            self.put_parts(
                &parts,
                &variable,
                Given {
                    value: Value::Loose(value),
                    origin,
                },
            );
        }
    }

    /// Lays flags over what was given before: `discovery.join-timeout`, `caches[0].name`.
    pub fn add_flags(&mut self, flags: impl IntoIterator<Item = (String, String)>) {
        for (flag, value) in flags {
            let origin = Origin::Flag(flag.clone());
            let name = flag
                .trim_start_matches('-')
                .replace('[', ".")
                .replace(']', "");
            let parts: Vec<&str> = name.split('.').collect();
            self.put_parts(
                &parts,
                &flag,
                Given {
                    value: Value::Loose(value),
                    origin,
                },
            );
        }
    }

    fn put_parts(&mut self, parts: &[&str], whole: &str, given: Given) {
        let Some(section) = parts.first().and_then(|name| catalogue::find_section(name)) else {
            let cure = catalogue::suggest_section(parts.first().unwrap_or(&""));
            return self.unknown(given.origin, whole.to_owned(), cure);
        };
        match (section, parts) {
            ("caches", [_, index, name]) => {
                let Some(index) = index.parse().ok().filter(|index| *index < CACHES_MAX) else {
                    let cure = format!("count caches from 0 to {}", CACHES_MAX - 1);
                    return self.problem(given.origin, whole, "not the number of a cache", cure);
                };
                while self.caches.len() <= index {
                    self.caches.push((given.origin.clone(), Table::new()));
                }
                self.put(section, Some(index), name, given);
            }
            ("caches", _) => {
                let cure = "name a cache by its number and then its setting, as caches[0].backups";
                self.problem(given.origin, whole, "not a setting of one cache", cure);
            }
            (_, [_, name]) => self.put(section, None, name, given),
            _ => self.unknown(
                given.origin,
                whole.to_owned(),
                "name a section and then one of its settings".to_owned(),
            ),
        }
    }

    fn put(&mut self, section: &'static str, index: Option<usize>, name: &str, given: Given) {
        let shown = index.map_or_else(|| section.to_owned(), |index| format!("{section}[{index}]"));
        let Some(known) = catalogue::find(section, name) else {
            let cure = catalogue::suggest(section, name);
            return self.unknown(given.origin, format!("{shown}.{name}"), cure);
        };
        let table = match index {
            None => self.sections.entry(section).or_default(),
            Some(index) => match self.caches.get_mut(index) {
                Some((_, table)) => table,
                None => return,
            },
        };
        let before = table.insert(known.name, given.clone());
        let same_layer = before.is_some_and(|before| {
            std::mem::discriminant(&before.origin) == std::mem::discriminant(&given.origin)
        });
        if same_layer {
            let setting = format!("{shown}.{}", known.name);
            self.problem(
                given.origin,
                &setting,
                "given twice in one place",
                "keep one of them",
            );
        }
    }

    fn unknown(&mut self, origin: Origin, setting: String, cure: String) {
        let problem = Problem {
            origin,
            setting,
            what: "unknown name".to_owned(),
            cure,
        };
        if self.skip_validation {
            self.report.warnings.push(problem);
        } else {
            self.report.problems.push(problem);
        }
    }

    fn problem(&mut self, origin: Origin, setting: &str, what: &str, cure: impl Into<String>) {
        self.report.problems.push(Problem {
            origin,
            setting: setting.to_owned(),
            what: what.to_owned(),
            cure: cure.into(),
        });
    }
}

fn begins_with_section(name: &str) -> Option<(&str, &str)> {
    let (section, rest) = name.split_once('_')?;
    catalogue::find_section(section).map(|_| (section, rest))
}

fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
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

    fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset) + 1;
        Origin::File {
            path: self.path.to_path_buf(),
            line,
        }
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
