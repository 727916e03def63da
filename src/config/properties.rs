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
const TICKETS: &str = super::tickets::CACHE;

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
        crypto.settle(&mut found, self);
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
            return crypto.note(name, value, origin);
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
        let Some(cache) = tickets_index.and_then(|index| self.caches.get_mut(index)) else {
            return;
        };
        let Some(name) = cache.table.get("name").cloned() else {
            let value = Value::Text(TICKETS.to_owned());
            let origin = whole_file;
            cache.table.insert("name", Given { value, origin });
            return;
        };
        // It is the cache of tickets by any name.
        if self
            .sections
            .get("tickets")
            .is_none_or(|own| !own.contains_key("cache"))
        {
            self.put("tickets", None, "cache", name);
        }
    }
}

/// What was said about the encryption of tickets in the words of another registry. Where it is turned
/// on, its keys are taken as those of `[tickets]`, whose cipher is always the same: what is said of
/// algorithms and sizes of keys has no effect.
#[derive(Default)]
struct Crypto {
    enabled: Option<(String, Given)>,
    encryption: Option<(String, Given)>,
    signing: Option<(String, Given)>,
    /// The first of all other names.
    other: Option<(String, Origin)>,
}

impl Crypto {
    fn note(&mut self, name: String, value: String, origin: Origin) {
        if value.trim().is_empty() {
            return;
        }
        let place = match catalogue::kebab(&name).as_str() {
            "crypto.enabled" => &mut self.enabled,
            "crypto.encryption.key" => &mut self.encryption,
            "crypto.signing.key" => &mut self.signing,
            _ => {
                self.other.get_or_insert((name, origin));
                return;
            }
        };
        let value = Value::Property(value.trim().to_owned());
        *place = Some((name, Given { value, origin }));
    }

    /// Where it is turned on; none where it is not.
    fn turned_on(&mut self) -> Result<Option<(String, Origin)>, (String, Origin)> {
        let Some((name, given)) = self.enabled.take() else {
            return Ok(None);
        };
        let place = (name, given.origin);
        match &given.value {
            Value::Property(word) if word.eq_ignore_ascii_case("true") => Ok(Some(place)),
            Value::Property(word) if word.eq_ignore_ascii_case("false") => Ok(None),
            _ => Err(place),
        }
    }

    /// Adds what it comes to; never tells a key.
    fn settle(mut self, found: &mut Found, gathered: &mut Gathered) {
        let on = match self.turned_on() {
            Ok(on) => on,
            // An operator must not believe that tickets are encrypted, nor that they are not.
            Err((name, origin)) => {
                let cure = "write crypto.enabled=true or crypto.enabled=false";
                return gathered.problem(origin, &name, "neither true nor false", cure);
            }
        };
        let Some((name, origin)) = on else {
            let key = self.encryption.or(self.signing);
            let first = key.map(|(name, given)| (name, given.origin));
            if let Some(place) = first.or(self.other) {
                let what = "without effect, since crypto.enabled is not true";
                let cure = "take the crypto settings out, or write crypto.enabled=true";
                warn(gathered, place, what, cure);
            }
            return;
        };
        let section = Place::Section("tickets");
        for (setting, file, key) in [
            ("encryption-key", "encryption-key-file", self.encryption),
            ("digest-key", "digest-key-file", self.signing),
        ] {
            let own =
                found.contains_key(&(section, setting)) || found.contains_key(&(section, file));
            match (key, own) {
                (Some((_, given)), false) => {
                    found.insert((section, setting), Lines::One(given));
                }
                (Some((name, given)), true) => {
                    let cure = format!("take it out: tickets.{setting} is given");
                    warn(gathered, (name, given.origin), "without effect", &cure);
                }
                (None, true) => {}
                (None, false) => {
                    let cure = "write crypto.encryption.key and crypto.signing.key, the same on all \
                                nodes, each of 16 to 255 random characters, or crypto.enabled=false";
                    return gathered.problem(origin, &name, "keys are missing", cure);
                }
            }
        }
        if let Some(place) = self.other {
            let what = "without effect: tickets are encrypted by AES-256 in GCM";
            warn(gathered, place, what, "take it out");
        }
    }
}

fn warn(gathered: &mut Gathered, (setting, origin): (String, Origin), what: &str, cure: &str) {
    gathered.report.warnings.push(Problem {
        origin,
        setting,
        what: what.to_owned(),
        cure: cure.to_owned(),
    });
}
