//! `[tickets]`: the kinds of tickets with their defaults, and the keys that protect them.

use super::duration::DURATION_MAX;
use super::given::{Given, Reader, Table, Value};
use super::stores::{Password, resolve};
use crate::types::{CacheSettings, Micros};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// The cache of every kind that names none.
pub const CACHE: &str = "tickets";
/// The most kinds.
pub const KINDS_MAX: usize = 64;
/// The longest name of a kind, in bytes.
const KIND_BYTES_MAX: usize = 32;
/// The most keys that decrypt.
const KEYS_MAX: usize = 8;
/// The shortest and the longest key, in bytes.
pub const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=255;
/// What a kind may say of itself.
const OF_A_KIND: [&str; 4] = ["max-time-to-live", "max-time-to-idle", "max-uses", "cache"];

/// One kind of tickets: what holds for a ticket that does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketKind {
    pub max_time_to_live: Option<Micros>,
    pub max_time_to_idle: Option<Micros>,
    pub max_uses: Option<u32>,
    /// The cache that holds them.
    pub cache: String,
}

/// The section `[tickets]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketSettings {
    /// By name.
    pub kinds: BTreeMap<String, TicketKind>,
    /// The first encrypts, all decrypt. None: tickets are stored as they come.
    pub encryption_keys: Vec<Password>,
    /// The key of the digests that stand for ids and index terms.
    pub digest_key: Option<Password>,
}

const SECOND: Micros = 1_000_000;
const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;

impl Default for TicketSettings {
    fn default() -> Self {
        let kind = |live, idle, uses| TicketKind {
            max_time_to_live: Some(live),
            max_time_to_idle: idle,
            max_uses: uses,
            cache: CACHE.to_owned(),
        };
        let session = kind(8 * HOUR, Some(2 * HOUR), None);
        let service = kind(10 * SECOND, None, Some(1));
        let kinds = [
            ("TGT", session.clone()),
            ("PGT", session.clone()),
            ("ST", service.clone()),
            ("PT", service),
            ("TST", kind(5 * MINUTE, None, Some(1))),
            ("OC", kind(30 * SECOND, None, Some(1))),
            ("AT", session),
            ("RT", kind(14 * 24 * HOUR, None, None)),
        ];
        Self {
            kinds: kinds
                .map(|(name, kind)| (name.to_owned(), kind))
                .into_iter()
                .collect(),
            encryption_keys: Vec::new(),
            digest_key: None,
        }
    }
}

impl TicketSettings {
    /// The names of the caches that hold tickets.
    pub fn caches(&self) -> BTreeSet<&str> {
        self.kinds
            .values()
            .map(|kind| kind.cache.as_str())
            .collect()
    }

    /// Reads the section.
    pub(super) fn read(given: &Table, reader: &mut Reader<'_>) -> Self {
        let mut settings = Self::default();
        if let Some(kinds) = given.get("kinds") {
            settings.read_kinds(kinds, reader);
        }
        settings.read_keys(reader);
        settings
    }

    fn read_kinds(&mut self, given: &Given, reader: &mut Reader<'_>) {
        for (path, value) in flat(given, reader) {
            let Some((name, setting)) = path.rsplit_once('.') else {
                let cure = "write what it has, such as kinds.TGT.max-time-to-live = \"6h\"";
                reader.problem_at(
                    "kinds",
                    Some(value.origin),
                    format!("`{path}` is no kind"),
                    cure,
                );
                continue;
            };
            let fits = (1..=KIND_BYTES_MAX).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'.');
            if !fits || (!self.kinds.contains_key(name) && self.kinds.len() >= KINDS_MAX) {
                let cure = format!(
                    "{KINDS_MAX} kinds at most, each with a name of 1 to {KIND_BYTES_MAX} letters, \
                     digits and signs without blanks and dots"
                );
                let what = "a kind that cannot be one";
                reader.problem_at("kinds", Some(value.origin), what, cure);
                continue;
            }
            let setting = super::catalogue::kebab(setting);
            let Some(setting) = OF_A_KIND.iter().find(|known| **known == setting) else {
                let cure = format!("a kind has {}", OF_A_KIND.join(", "));
                reader.problem_at("kinds", Some(value.origin), "unknown name", cure);
                continue;
            };
            let kind = self.kinds.entry(name.to_owned()).or_insert(TicketKind {
                max_time_to_live: None,
                max_time_to_idle: None,
                max_uses: None,
                cache: CACHE.to_owned(),
            });
            let table = Table::from([(*setting, value)]);
            let label = format!("tickets.kinds.{name}");
            kind.read(&mut reader.inner(label, &table));
        }
    }

    fn read_keys(&mut self, reader: &mut Reader<'_>) {
        for (key, origin) in reader.list("encryption-key").unwrap_or_default() {
            if self.encryption_keys.len() >= KEYS_MAX || !KEY_BYTES.contains(&key.len()) {
                reader.problem_at(
                    "encryption-key",
                    Some(origin),
                    "too many keys, or one that is too short or too long",
                    key_form(),
                );
                continue;
            }
            self.encryption_keys.push(Password::given(key));
        }
        for (path, origin) in reader.list("encryption-key-file").unwrap_or_default() {
            let path = resolve(&origin, Path::new(&path));
            self.encryption_keys.push(Password::File(path));
        }
        self.digest_key = reader
            .text("digest-key", KEY_BYTES)
            .map(Password::given)
            .or_else(|| {
                let path = reader.text("digest-key-file", 1..=4096)?;
                let origin = reader.origin("digest-key-file");
                Some(Password::File(resolve(&origin, Path::new(&path))))
            });
        if self.encryption_keys.is_empty() != self.digest_key.is_none() {
            let (there, missing) = if self.digest_key.is_none() {
                ("encryption-key", "digest-key")
            } else {
                ("digest-key", "encryption-key")
            };
            reader.problem(
                there,
                format!("tickets are encrypted with both keys, and there is no {missing}"),
                format!("write {missing} as well, or take {there} out"),
            );
        }
    }
}

/// What a key looks like.
fn key_form() -> String {
    format!(
        "{KEYS_MAX} keys at most, each of {} to {} random characters, such as `openssl rand \
         -base64 48` makes",
        KEY_BYTES.start(),
        KEY_BYTES.end()
    )
}

impl TicketKind {
    fn read(&mut self, reader: &mut Reader<'_>) {
        let bounds = Duration::from_millis(1)..=DURATION_MAX;
        let micros = |found: Duration| Micros::try_from(found.as_micros()).unwrap_or(Micros::MAX);
        let mut limit = |name: &str, own: &mut Option<Micros>| {
            if reader.is_word(name, "none") {
                *own = None;
            } else if let Some(found) = reader.duration(name, bounds.clone()) {
                *own = Some(micros(found));
            }
        };
        limit("max-time-to-live", &mut self.max_time_to_live);
        limit("max-time-to-idle", &mut self.max_time_to_idle);
        if reader.is_word("max-uses", "none") {
            self.max_uses = None;
        } else if let Some(uses) = reader.count("max-uses", 1..=u32::MAX) {
            self.max_uses = Some(uses);
        }
        if let Some(cache) = reader.text("cache", 1..=super::caches::NAME_BYTES_MAX) {
            self.cache = cache;
        }
    }
}

/// Everything below a table, with the names on the way joined by dots.
fn flat(given: &Given, reader: &mut Reader<'_>) -> Vec<(String, Given)> {
    let text = match &given.value {
        Value::Table(table) => {
            let mut all = Vec::new();
            for (name, value) in table {
                match &value.value {
                    Value::Table(_) => {
                        let below = flat(value, reader).into_iter();
                        all.extend(below.map(|(rest, value)| (format!("{name}.{rest}"), value)));
                    }
                    _ => all.push((name.clone(), value.clone())),
                }
            }
            return all;
        }
        Value::Loose(text) | Value::Property(text) => text,
        _ => {
            let cure = "write a table, such as kinds.TGT.max-time-to-live = \"6h\"";
            reader.problem("kinds", "something where a table belongs", cure);
            return Vec::new();
        }
    };
    let mut all = Vec::new();
    for pair in text.split(',') {
        let Some((name, value)) = pair.split_once('=') else {
            let cure = "write TGT.max-time-to-live=6h,ST.max-uses=1";
            reader.problem("kinds", "not a list of pairs", cure);
            return Vec::new();
        };
        let value = Given {
            value: Value::Loose(value.trim().to_owned()),
            origin: given.origin.clone(),
        };
        all.push((name.trim().to_owned(), value));
    }
    all
}

/// The settings of a cache of tickets that are not given.
pub fn default_cache(name: &str) -> CacheSettings {
    CacheSettings {
        removes_are_final: true,
        ..CacheSettings::named(name)
    }
}

/// The caches of tickets among those that the settings name, and those that must be made for
/// `[tickets]`.
pub(super) fn add_caches(
    caches: &mut Vec<CacheSettings>,
    tickets: &TicketSettings,
    section_given: bool,
) {
    if !section_given {
        return;
    }
    for name in tickets.caches() {
        if caches.iter().all(|cache| cache.name != name) {
            caches.push(default_cache(name));
        }
    }
}

/// What a cache of tickets must not be.
pub(super) fn check_cache(reader: &mut Reader<'_>, settings: &mut CacheSettings) {
    if !reader.has("removes-are-final") {
        settings.removes_are_final = true;
    } else if !settings.removes_are_final {
        reader.problem(
            "removes-are-final",
            "the cache holds tickets, and deleted tickets do not come back",
            "take it out",
        );
    }
    if settings.near_bytes_max > 0 {
        reader.problem(
            "near-cache-max-size",
            "the cache holds tickets, of which nobody keeps near copies",
            "take it out",
        );
    }
}
