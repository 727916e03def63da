//! Where settings come from: a file, the environment, flags. Later ones win. Names are resolved
//! here and unknown ones refused; values are only carried.

use super::catalogue;
use super::formats::{self, Document, Format, toml_file, yaml_file};
use super::given::{Given, Report, Table, Value};
use super::problem::{Origin, Problem};
use std::collections::BTreeMap;
use std::path::Path;

/// The most caches that the settings may name.
pub const CACHES_MAX: usize = 256;

/// What the name of every environment variable of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "EMBERGRID_";

/// Everything that was given, by section.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The sections but `caches`.
    pub sections: BTreeMap<&'static str, Table>,
    /// The caches in their order.
    pub caches: Vec<GivenCache>,
    /// What was found on the way.
    pub report: Report,
    /// Whether unknown names are warnings only.
    pub skip_validation: bool,
    /// Names in a properties file that are not ours.
    pub ignored: usize,
    /// The file could not be read, so that what is missing says nothing.
    pub unread: bool,
}

/// What was given of one cache.
#[derive(Debug)]
pub struct GivenCache {
    /// As messages show it, such as `caches[0]`.
    pub label: String,
    /// Where it begins.
    pub origin: Origin,
    /// Its settings.
    pub table: Table,
}

impl Gathered {
    /// What was given of a section.
    pub fn section(&self, name: &str) -> Table {
        self.sections.get(name).cloned().unwrap_or_default()
    }

    /// Reads a file.
    pub fn add_file(&mut self, path: &Path) {
        let text = Format::of(path).and_then(|format| formats::read(path, format));
        match text {
            Ok(text) => self.add_text(path, &text),
            Err(problem) => self.fail([*problem]),
        }
    }

    pub(super) fn fail(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.unread = true;
        self.report.problems.extend(problems);
    }

    /// Reads the text of a file that would stand at `path`, whose extension says its form.
    pub fn add_text(&mut self, path: &Path, text: &str) {
        // Some editors begin a file with a mark of its encoding.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let format = match Format::of(path) {
            Ok(format) => format,
            Err(problem) => return self.fail([*problem]),
        };
        match format {
            Format::Toml => match toml_file::read(path, text) {
                Ok(document) => self.add_document(document, format),
                Err(problems) => self.fail(problems),
            },
            Format::Yaml => match yaml_file::read(path, text) {
                Ok((document, twice)) => {
                    self.report.problems.extend(twice);
                    self.add_document(document, format);
                }
                Err(problem) => self.fail([*problem]),
            },
            Format::Properties => self.add_properties(path, text),
        }
    }

    fn add_document(&mut self, document: Document, format: Format) {
        for (name, origin, value) in document {
            match catalogue::find_section(&name) {
                Some("caches") => self.add_caches(value, format),
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
                        format.section_form(section),
                    ),
                },
                None => {
                    let cure = catalogue::suggest_section(&name);
                    self.unknown(origin, name, cure);
                }
            }
        }
    }

    fn add_caches(&mut self, caches: Given, format: Format) {
        let Value::List(caches_given) = caches.value else {
            let cure = format.cache_form();
            return self.problem(caches.origin, "caches", "not a list of caches", cure);
        };
        for cache in caches_given {
            let Value::Table(entries) = cache.value else {
                self.problem(cache.origin, "caches", "not a cache", format.cache_form());
                continue;
            };
            let index = self.caches.len();
            if index >= CACHES_MAX {
                let cure = format!("{CACHES_MAX} caches at most");
                return self.problem(cache.origin, "caches", "too many caches", cure);
            }
            self.add_cache(None, cache.origin);
            for (name, given) in entries {
                self.put("caches", Some(index), &name, given);
            }
        }
    }

    /// One more cache, of which nothing is given yet.
    pub(super) fn add_cache(&mut self, label: Option<&str>, origin: Origin) {
        let index = self.caches.len();
        self.caches.push(GivenCache {
            label: label.map_or_else(|| format!("caches[{index}]"), str::to_owned),
            origin,
            table: Table::new(),
        });
    }

    /// The number of a cache, as it was written; the cache exists from now on.
    pub(super) fn cache_at(
        &mut self,
        index: &str,
        setting: &str,
        origin: &Origin,
    ) -> Option<usize> {
        let Some(index) = index.parse().ok().filter(|index| *index < CACHES_MAX) else {
            let cure = format!("count caches from 0 to {}", CACHES_MAX - 1);
            self.problem(origin.clone(), setting, "not the number of a cache", cure);
            return None;
        };
        while self.caches.len() <= index {
            self.add_cache(None, origin.clone());
        }
        Some(index)
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
                if let Some(index) = self.cache_at(index, whole, &given.origin) {
                    self.put(section, Some(index), name, given);
                }
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

    /// Takes one setting of a section, or of a cache.
    pub(super) fn put(
        &mut self,
        section: &'static str,
        index: Option<usize>,
        name: &str,
        given: Given,
    ) {
        let shown = index
            .and_then(|index| self.caches.get(index))
            .map_or_else(|| section.to_owned(), |cache| cache.label.clone());
        let Some(known) = catalogue::find(section, name) else {
            let cure = catalogue::suggest(section, name);
            return self.unknown(given.origin, format!("{shown}.{name}"), cure);
        };
        let table = match index {
            None => self.sections.entry(section).or_default(),
            Some(index) => match self.caches.get_mut(index) {
                Some(cache) => &mut cache.table,
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

    pub(super) fn unknown(&mut self, origin: Origin, setting: String, cure: String) {
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

    pub(super) fn problem(
        &mut self,
        origin: Origin,
        setting: &str,
        what: &str,
        cure: impl Into<String>,
    ) {
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
