//! Every setting by name: where it stands, under which other names it is known, and its default
//! in words. One place says what exists; the sections say what it means.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The section, as TOML has it.
    pub section: &'static str,
    /// The name in kebab-case.
    pub name: &'static str,
    /// Other names of the same setting, in kebab-case.
    pub aliases: &'static [&'static str],
    /// The default in words.
    pub default: &'static str,
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

const fn known(section: &'static str, name: &'static str, default: &'static str) -> Known {
    Known {
        section,
        name,
        aliases: &[],
        default,
    }
}

/// Every setting.
pub const SETTINGS: &[Known] = &[
    known("cluster", "name", "embergrid"),
    known("cluster", "node-name", "the address that peers use"),
    known("cluster", "attributes", "none"),
    known("cluster", "quorum-of", "not set"),
    Known {
        section: "discovery",
        name: "ignite-address",
        aliases: &["addresses"],
        default: "localhost:47500..47509",
    },
    known(
        "discovery",
        "local-address",
        "loopback or all interfaces, as the address list",
    ),
    known("discovery", "local-port", "-1"),
    known("discovery", "join-timeout", "1s"),
    known("discovery", "ack-timeout", "2s"),
    known("discovery", "network-timeout", "5s"),
    known("discovery", "socket-timeout", "5s"),
    known("discovery", "client-mode", "false"),
    known("discovery", "force-server-mode", "false"),
    known("discovery", "thread-priority", "10"),
    known("discovery", "lease", "three quarters of ack-timeout"),
    known("discovery", "heartbeat-interval", "a tenth of ack-timeout"),
    known("discovery", "clock-error-max", "50ms"),
    known("tls", "enabled", "true"),
    known("tls", "key-store-file-path", "not set"),
    known("tls", "key-store-password", "not set"),
    known("tls", "key-store-password-file", "not set"),
    known("tls", "key-store-type", "JKS"),
    known("tls", "key-password", "that of the key store"),
    known("tls", "key-password-file", "not set"),
    known("tls", "trust-store-file-path", "not set"),
    known("tls", "trust-store-password", "not set"),
    known("tls", "trust-store-password-file", "not set"),
    known("tls", "trust-store-type", "JKS"),
    known("tls", "client-trust-store-file-path", "the trust store"),
    known("tls", "client-trust-store-password", "not set"),
    known("tls", "client-trust-store-password-file", "not set"),
    known("tls", "client-trust-store-type", "JKS"),
    known("tls", "key-algorithm", "SunX509"),
    known("tls", "protocol", "TLS"),
    known("tls", "peer-names", "none"),
    known("storage", "default-persistence-enabled", "false"),
    known("storage", "default-region-max-size", "0"),
    known("caches", "name", "must be given"),
    known("caches", "cache-mode", "REPLICATED"),
    known("caches", "atomicity-mode", "TRANSACTIONAL"),
    known("caches", "write-synchronization-mode", "FULL_SYNC"),
    known("caches", "backups", "1"),
    known("caches", "time-to-live", "for ever"),
    known("caches", "time-to-idle", "for ever"),
    known("caches", "touch-on-read", "true where time-to-idle is set"),
    known("caches", "partitions", "1024"),
    known("caches", "node-filter", "all servers"),
    known("caches", "backup-zone", "not set"),
    known("caches", "read-from", "any; primary under PRIMARY_SYNC"),
    known("caches", "when-split", "allow-read-writes"),
    known("caches", "partition-loss", "reject"),
    known("caches", "removes-are-final", "false"),
    known("caches", "tombstone-retention", "24h"),
    known("caches", "request-id-window", "60s"),
    known("caches", "near-cache-max-size", "0"),
    known("caches", "entry-max-size", "1MiB"),
    known("tickets", "kinds", "those of the catalogue"),
    known("tickets", "encryption-key", "not set"),
    known("tickets", "digest-key", "not set"),
    known("limits", "connections-max", "16384"),
    known("limits", "streams-per-connection-max", "1024"),
    known("limits", "requests-in-flight-max", "16384"),
    known("limits", "link-queue-max", "65536"),
    known("limits", "watch-queue-max", "4096"),
    known("limits", "batch-keys-max", "10000"),
    known("limits", "message-max-size", "20MiB"),
    known("limits", "drain-time", "30s"),
    known("limits", "transaction-timeout", "30s"),
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
        None => "take it out".to_owned(),
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
        None => "take it out".to_owned(),
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
    names.min_by_key(|name| strsim::damerau_levenshtein(&wanted, name))
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
