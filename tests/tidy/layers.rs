//! The arrows of the layers: which part of the crate may see which.

use super::source::{Source, words};

/// Each part with all that it may see besides itself. What is not listed does not exist.
pub const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("types", &["error"]),
    ("config", &["types", "error"]),
    ("engine", &["types", "error", "config"]),
    ("storage", &["types", "error", "config"]),
    ("rpc", &["types", "error", "config"]),
    (
        "node",
        &["engine", "storage", "rpc", "types", "error", "config"],
    ),
    ("service", &["node", "rpc", "types", "error", "config"]),
    ("memcached", &["node", "rpc", "types", "error", "config"]),
    ("bridge", &["node", "rpc", "types", "error", "config"]),
    ("client", &["rpc", "types", "error", "config"]),
    (
        "cli",
        &[
            "client", "node", "service", "rpc", "types", "error", "config",
        ],
    ),
];

/// Front ends are ordinary users of the handle: this is all that they see of `node`.
const HANDLE: &[&str] = &[
    "Begun",
    "Handle",
    "ListPlace",
    "Stats",
    "Tickets",
    "Waiting",
    "Wanted",
    "Watch",
    "WatchItem",
];
/// What two files need besides: one carries frames of peers into the node, one runs it.
const BESIDES: &[(&str, &str)] = &[
    ("src/service/peer.rs", "PeerSession"),
    ("src/service/server.rs", "Node"),
];
const FRONT_ENDS: &[&str] = &["service", "memcached", "bridge"];

/// Every arrow that points the wrong way.
pub fn wrong_arrows(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer() else {
        return Vec::new();
    };
    if layer == "lib" || layer == "main" {
        return Vec::new();
    }
    let Some((_, may_see)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!(
            "{}: `{layer}` is not part of the layout",
            source.path
        )];
    };
    let mut wrong = Vec::new();
    for (line, path) in paths(source) {
        let Some(target) = path.first() else { continue };
        let known = LAYERS.iter().any(|(name, _)| name == target);
        if known && target != layer && !may_see.contains(&target.as_str()) {
            wrong.push(format!(
                "{}:{line}: `{layer}` must not see `{target}`",
                source.path
            ));
        }
        let beyond_handle = target == "node"
            && FRONT_ENDS.contains(&layer)
            && path.get(1).is_some_and(|name| {
                !HANDLE.contains(&name.as_str())
                    && !BESIDES.contains(&(source.path.as_str(), name.as_str()))
            });
        if beyond_handle {
            wrong.push(format!(
                "{}:{line}: `{layer}` sees more of `node` than the handle",
                source.path
            ));
        }
    }
    wrong
}

/// All paths that begin at the crate, or climb to it, as names below the crate.
fn paths(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for at in words(&source.plain, "crate") {
        if let Some(rest) = source.plain[at + "crate".len()..].strip_prefix("::") {
            expand(&[], rest, &mut |path| found.push((source.line(at), path)));
        }
    }
    let module = source.module();
    for at in words(&source.plain, "super") {
        if source.plain[..at].ends_with("::") {
            continue; // Counted with the first one.
        }
        let (mut rest, mut climbed) = (&source.plain[at..], 0);
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, climbed) = (after, climbed + 1);
        }
        let base = &module[..module.len().saturating_sub(climbed)];
        let base: Vec<_> = base.iter().map(|name| (*name).to_owned()).collect();
        expand(&base, rest, &mut |path| found.push((source.line(at), path)));
    }
    found
}

/// Follows `a::{b, c::d}` into its paths.
fn expand(base: &[String], text: &str, found: &mut impl FnMut(Vec<String>)) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        for part in split_group(group) {
            expand(base, part, found);
        }
        return;
    }
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let mut path = base.to_vec();
    if end > 0 && &text[..end] != "self" {
        path.push(text[..end].to_owned());
    }
    match text[end..].strip_prefix("::") {
        Some(rest) => expand(&path, rest, found),
        None => found(path),
    }
}

/// The parts of a group up to its closing brace.
fn split_group(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}
