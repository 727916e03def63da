//! Every setting by name: which exist, how a name may be written, and which known name is nearest
//! to an unknown one. What each setting takes and does stands in the table of `reference`.

pub use super::reference::SETTINGS;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The section, as TOML has it.
    pub section: &'static str,
    /// The name in kebab-case.
    pub name: &'static str,
    /// Other names of the same setting, in kebab-case.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub kind: Kind,
    /// The default, as it would be written or in words.
    pub default: &'static str,
    /// What it may be.
    pub bounds: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// True or false.
    Boolean,
    /// A time span with its unit.
    Duration,
    /// A number of bytes.
    Size,
    /// One of several words.
    Choice,
    /// Several texts.
    List,
    /// Names that the user chose, with values.
    Pairs,
}

impl Kind {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Choice => "word",
            Self::List => "list",
            Self::Pairs => "pairs",
        }
    }
}

/// The sections that a file may have, in the order of the reference.
pub const SECTIONS: [&str; 7] = [
    "cluster",
    "discovery",
    "tls",
    "storage",
    "caches",
    "tickets",
    "limits",
];

/// The one spelling of a name: `joinTimeout`, `join_timeout` and `JOIN_TIMEOUT` are all
/// `join-timeout`.
pub fn kebab(name: &str) -> String {
    let mut kebab = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for character in name.chars() {
        if character.is_ascii_uppercase() && after_lower {
            kebab.push('-');
        }
        after_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        kebab.push(if character == '_' {
            '-'
        } else {
            character.to_ascii_lowercase()
        });
    }
    kebab
}

/// The section of this name, however it is written.
pub fn find_section(name: &str) -> Option<&'static str> {
    let name = kebab(name);
    SECTIONS.into_iter().find(|known| *known == name)
}

/// The setting of this name in a section, however it is written.
pub fn find(section: &str, name: &str) -> Option<&'static Known> {
    let name = kebab(name);
    of_section(section).find(|known| known.name == name || known.aliases.contains(&name.as_str()))
}

/// Settings that say nothing without their section.
const NEEDS_SECTION: [&str; 2] = ["enabled", "name"];

/// The setting that a name means where it stands without its section. Settings of caches have
/// none: which cache would be meant?
pub fn find_flat(name: &str) -> Option<&'static Known> {
    let name = kebab(name);
    flat().find(|known| known.name == name || known.aliases.contains(&name.as_str()))
}

/// Every setting that a name may mean, however it is written: with its section or without, with
/// the number of a cache, or with the prefix of a properties file.
pub fn search(name: &str) -> Vec<&'static Known> {
    let prefix = super::formats::properties_file::PREFIX;
    let name = name.strip_prefix(prefix).unwrap_or(name);
    let (section, name) = match name.rsplit_once('.') {
        Some((section, name)) => (Some(section), name),
        None => (None, name),
    };
    let section = section.map(|section| {
        let section = section.split('[').next().unwrap_or_default();
        match kebab(section).as_str() {
            "tickets-cache" => Some("caches"),
            _ => find_section(section),
        }
    });
    let name = kebab(name);
    let fits = |known: &&Known| {
        (known.name == name || known.aliases.contains(&name.as_str()))
            && section.is_none_or(|section| section == Some(known.section))
    };
    SETTINGS.iter().filter(fits).collect()
}

/// How to mend a name that [`find_flat`] does not know.
pub fn suggest_flat(name: &str) -> String {
    let wanted = kebab(name);
    if let Some(known) = SETTINGS.iter().find(|known| known.name == wanted) {
        return match known.section {
            "caches" => format!("write `tickets-cache.{0}` or `caches[0].{0}`", known.name),
            section => format!("write `{section}.{}`", known.name),
        };
    }
    let names =
        flat().flat_map(|known| std::iter::once(known.name).chain(known.aliases.iter().copied()));
    match nearest(&wanted, names) {
        Some(name) => format!("the nearest known name is `{name}`"),
        None => "take it out, or see `embergrid config defaults`".to_owned(),
    }
}

fn flat() -> impl Iterator<Item = &'static Known> {
    SETTINGS
        .iter()
        .filter(|known| known.section != "caches" && !NEEDS_SECTION.contains(&known.name))
}

/// How to mend an unknown name: the nearest known one, or the section that has it.
pub fn suggest(section: &str, name: &str) -> String {
    let wanted = kebab(name);
    let elsewhere = SETTINGS
        .iter()
        .find(|known| known.name == wanted || known.aliases.contains(&wanted.as_str()));
    if let Some(known) = elsewhere {
        return format!(
            "`{}` belongs into the section `{}`",
            known.name, known.section
        );
    }
    let names = of_section(section)
        .flat_map(|known| std::iter::once(known.name).chain(known.aliases.iter().copied()));
    match nearest(&wanted, names) {
        Some(name) => format!("the nearest known name is `{name}`"),
        None => "take it out, or see `embergrid config defaults`".to_owned(),
    }
}

/// The nearest known name of any section.
pub fn suggest_any(name: &str) -> String {
    let names = SETTINGS.iter().map(|known| known.name);
    match nearest(&kebab(name), names) {
        Some(name) => format!("the nearest known name is `{name}`"),
        None => "see `embergrid config defaults`".to_owned(),
    }
}

/// How to mend an unknown section, or a setting that stands outside of all sections.
pub fn suggest_section(name: &str) -> String {
    let wanted = kebab(name);
    if let Some(known) = SETTINGS.iter().find(|known| known.name == wanted) {
        return format!(
            "`{}` belongs into the section `{}`",
            known.name, known.section
        );
    }
    match nearest(&wanted, SECTIONS.into_iter()) {
        Some(name) => format!("the nearest known section is `{name}`"),
        None => "take it out, or see `embergrid config defaults`".to_owned(),
    }
}

fn of_section(section: &str) -> impl Iterator<Item = &'static Known> {
    SETTINGS
        .iter()
        .filter(move |known| known.section == section)
}

fn nearest(wanted: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // The distance grows with the product of both lengths; nobody types a name of this length.
    let wanted: String = wanted.chars().take(64).collect();
    let distance = |name: &&str| strsim::damerau_levenshtein(&wanted, name);
    let nearest = names.min_by_key(distance)?;
    // What has little in common with any known name is no misspelling of one.
    (distance(&nearest) <= wanted.chars().count().div_ceil(3)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut seen = std::collections::BTreeSet::new();
        for known in SETTINGS {
            for name in std::iter::once(&known.name).chain(known.aliases) {
                assert_eq!(kebab(name), *name);
                assert!(seen.insert((known.section, *name)), "{name} twice");
                assert!(SECTIONS.contains(&known.section));
            }
        }
    }

    #[test]
    fn names_are_bound_relaxed() {
        for name in [
            "join-timeout",
            "joinTimeout",
            "join_timeout",
            "JOIN_TIMEOUT",
        ] {
            assert_eq!(
                find("discovery", name).map(|known| known.name),
                Some("join-timeout")
            );
        }
        assert_eq!(
            find("discovery", "addresses").map(|k| k.name),
            Some("ignite-address")
        );
        assert!(find("discovery", "name").is_none());
    }

    #[test]
    fn the_nearest_name_is_told() {
        assert!(suggest("discovery", "join-timout").contains("`join-timeout`"));
        assert!(suggest("discovery", "partitions").contains("section `caches`"));
        assert!(suggest_section("discovry").contains("`discovery`"));
        assert!(suggest_section("ackTimeout").contains("section `discovery`"));
    }
}
