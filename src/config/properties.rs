//! What the names of a properties file mean: settings stand flat behind the prefix, those of the
//! ticket cache behind `tickets-cache.`, those of further caches behind `caches[0].`, and any other
//! section may be written out, as `cluster.name`.

use super::catalogue::{self, Kind, Known};
use super::formats::properties_file::{self, PREFIX, Property, Step};
use super::given::{ENTRIES_MAX, Given, Value};
use super::problem::{Origin, Problem};
use super::source::Gathered;
use std::collections::BTreeMap;
use std::path::Path;

/// The cache that `tickets-cache.*` is about, unless it says otherwise.
const TICKETS: &str = "tickets";

/// Where a setting belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Section(&'static str),
    Cache(usize),
    TicketsCache,
}

/// All lines about one setting.
enum Lines {
    One(Given),
    /// By the index in brackets.
    Indexed(Origin, BTreeMap<usize, Given>),
    /// By the name behind the setting's.
    Named(Origin, Vec<(String, Given)>),
}

type Found = BTreeMap<(Place, &'static str), Lines>;

impl Gathered {
    /// Reads the text of a properties file.
    pub(super) fn add_properties(&mut self, path: &Path, text: &str) {
        let properties = match properties_file::read(path, text) {
            Ok(properties) => properties,
            Err(problem) => return self.fail([problem]),
        };
        self.ignored += properties.ignored;
        let whole_file = Origin::File {
            path: path.to_path_buf(),
            line: 0,
        };
        if properties.ours.is_empty() {
            return self.report.warnings.push(Problem {
                origin: whole_file,
                setting: String::new(),
                what: format!("no name begins with {PREFIX}"),
                cure: "write settings as cas.ticket.registry.ignite.ack-timeout=2000".to_owned(),
            });
        }
        let (mut found, mut crypto) = (Found::new(), Crypto::default());
        for property in properties.ours {
            self.sort(property, &mut found, &mut crypto);
        }
        crypto.report(self);
        self.put_all(found, whole_file);
    }

    fn sort(&mut self, property: Property, found: &mut Found, crypto: &mut Crypto) {
        let Property {
            name,
            value,
            origin,
        } = property;
        let Some(steps) = properties_file::steps(&name) else {
            let cure = "write names as section.name, lists as name[0]";
            return self.problem(origin, &name, "a name that cannot be read", cure);
        };
        let first = catalogue::kebab(steps[0].name);
        if first == "crypto" {
            return crypto.note(&name, &value, origin);
        }
        let Some((place, known, rest)) = self.find(&name, &first, &steps, &origin) else {
            return;
        };
        if value.trim().is_empty() {
            return self.report.warnings.push(Problem {
                origin,
                setting: name,
                what: "no value, taken as not given".to_owned(),
                cure: "write a value, or take the line out".to_owned(),
            });
        }
        let given = Given {
            value: Value::Property(value),
            origin,
        };
        self.collect(&name, (place, known), rest, given, found);
    }

    /// The setting that a name stands for, and the steps from its own name on.
    fn find<'a, 's>(
        &mut self,
        name: &str,
        first: &str,
        steps: &'s [Step<'a>],
        origin: &Origin,
    ) -> Option<(Place, &'static Known, &'s [Step<'a>])> {
        let section = catalogue::find_section(first);
        let (place, section, rest) = match (first, section) {
            ("tickets-cache", _) => (Place::TicketsCache, "caches", &steps[1..]),
            (_, Some("caches")) => {
                let index = steps[0].index.unwrap_or("none");
                let index = self.cache_at(index, name, origin)?;
                (Place::Cache(index), "caches", &steps[1..])
            }
            (_, Some(section)) => (Place::Section(section), section, &steps[1..]),
            (_, None) => {
                let Some(known) = catalogue::find_flat(first) else {
                    let cure = catalogue::suggest_flat(first);
                    self.unknown(origin.clone(), name.to_owned(), cure);
                    return None;
                };
                return Some((Place::Section(known.section), known, steps));
            }
        };
        let wanted = rest.first().map_or("", |step| step.name);
        let Some(known) = catalogue::find(section, wanted) else {
            let cure = catalogue::suggest(section, wanted);
            self.unknown(origin.clone(), name.to_owned(), cure);
            return None;
        };
        Some((place, known, rest))
    }

    /// Adds a line to those about its setting.
    fn collect(
        &mut self,
        name: &str,
        (place, known): (Place, &'static Known),
        rest: &[Step<'_>],
        given: Given,
        found: &mut Found,
    ) {
        let origin = given.origin.clone();
        let twice = (
            origin.clone(),
            "given twice in one place",
            "keep one of them",
        );
        let key = (place, known.name);
        let refused = match (rest, known.kind) {
            ([Step { index: None, .. }], _) => match found.entry(key) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(Lines::One(given));
                    None
                }
                std::collections::btree_map::Entry::Occupied(_) => Some(twice),
            },
            (
                [
                    Step {
                        index: Some(index), ..
                    },
                ],
                Kind::List,
            ) => {
                let lines = || Lines::Indexed(origin.clone(), BTreeMap::new());
                let index = index.parse().ok().filter(|index| *index < ENTRIES_MAX);
                match (found.entry(key).or_insert_with(lines), index) {
                    (_, None) => Some((origin, "not the number of an entry", "count from 0")),
                    (Lines::Indexed(_, entries), Some(index)) => {
                        entries.insert(index, given).map(|_| twice)
                    }
                    _ => Some(twice),
                }
            }
            ([Step { index: None, .. }, named @ ..], Kind::Pairs) => {
                let lines = || Lines::Named(origin.clone(), Vec::new());
                let named: Vec<&str> = named.iter().map(|step| step.name).collect();
                let named = named.join(".");
                match found.entry(key).or_insert_with(lines) {
                    Lines::Named(_, entries) if entries.iter().all(|(name, _)| *name != named) => {
                        entries.push((named, given));
                        None
                    }
                    _ => Some(twice),
                }
            }
            _ => {
                let cure = "write the setting's name alone before its value";
                Some((
                    origin,
                    "something behind a setting that takes one value",
                    cure,
                ))
            }
        };
        if let Some((origin, what, cure)) = refused {
            self.problem(origin, name, what, cure);
        }
    }

    fn put_all(&mut self, found: Found, whole_file: Origin) {
        let tickets = found.keys().any(|(place, _)| *place == Place::TicketsCache);
        let tickets_index = (tickets || self.caches.is_empty()).then(|| {
            self.add_cache(Some("tickets-cache"), whole_file.clone());
            self.caches.len() - 1
        });
        for ((place, name), lines) in found {
            let given = match lines {
                Lines::One(given) => given,
                Lines::Indexed(origin, entries) => {
                    let whole = entries.keys().copied().eq(0..entries.len());
                    if !whole {
                        let what = "an entry of the list is left out";
                        let cure = "count the entries from 0 without a gap";
                        self.problem(origin, name, what, cure);
                        continue;
                    }
                    let value = Value::List(entries.into_values().collect());
                    Given { value, origin }
                }
                Lines::Named(origin, entries) => Given {
                    value: Value::Table(entries),
                    origin,
                },
            };
            match place {
                Place::Section(section) => self.put(section, None, name, given),
                Place::Cache(index) => self.put("caches", Some(index), name, given),
                Place::TicketsCache => self.put("caches", tickets_index, name, given),
            }
        }
        if let Some(cache) = tickets_index.and_then(|index| self.caches.get_mut(index)) {
            cache.table.entry("name").or_insert_with(|| Given {
                value: Value::Text(TICKETS.to_owned()),
                origin: whole_file,
            });
        }
    }
}

/// What was said about the encryption of tickets under the names of another registry, whose keys
/// have another form: it may be named where it is not turned on.
#[derive(Default)]
struct Crypto {
    /// A name, and where it stands.
    first: Option<(String, Origin)>,
    enabled: Option<(String, Origin)>,
}

impl Crypto {
    /// Never keeps a value, which may be a secret.
    fn note(&mut self, name: &str, value: &str, origin: Origin) {
        if catalogue::kebab(name) == "crypto.enabled" {
            // Whatever is not a clear no: an operator must not believe that tickets are encrypted.
            if !value.trim().eq_ignore_ascii_case("false") {
                self.enabled = Some((name.to_owned(), origin));
            }
        } else if self.first.is_none() && !value.trim().is_empty() {
            self.first = Some((name.to_owned(), origin));
        }
    }

    fn report(self, gathered: &mut Gathered) {
        if let Some((name, origin)) = self.enabled {
            let what = "the keys of tickets have other names and another form here";
            let cure =
                "write tickets.encryption-key and tickets.digest-key, and crypto.enabled=false";
            gathered.problem(origin, &name, what, cure);
        } else if let Some((name, origin)) = self.first {
            gathered.report.warnings.push(Problem {
                origin,
                setting: name,
                what: "without effect, since crypto.enabled is not true".to_owned(),
                cure: "take the crypto settings out; tickets.encryption-key and tickets.digest-key encrypt".to_owned(),
            });
        }
    }
}
