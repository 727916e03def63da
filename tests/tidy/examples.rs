//! Whatever the client offers shows how it is used. Its modules are private, so that what it offers
//! is what its `mod.rs` names, and `Client`.

use super::source::{Source, words};
use std::collections::BTreeSet;

/// Where the client is.
const FOLDER: &str = "src/client/";
/// Where it names what it offers.
const FRONT: &str = "src/client/mod.rs";
/// What an example begins with.
const HEADING: &str = "/// # Example";
/// And what its code stands in.
const FENCE: &str = "/// ```";

/// How public items begin that need an example.
const ITEMS: &[&str] = &[
    "fn ",
    "async fn ",
    "const fn ",
    "const ",
    "struct ",
    "enum ",
];

/// What the client offers.
pub struct Offers {
    names: BTreeSet<String>,
    /// What of it another layer defines: module and name.
    elsewhere: BTreeSet<(String, String)>,
}

impl Offers {
    /// Reads the `pub use` lines of the client.
    pub fn of<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Self {
        let mut offers = Self {
            names: BTreeSet::from(["Client".to_owned()]),
            elsewhere: BTreeSet::new(),
        };
        for source in sources {
            if !source.path.starts_with(FOLDER) {
                continue;
            }
            for (module, name, offered) in public_uses(&source.plain) {
                if source.path == FRONT {
                    offers.names.insert(offered.to_owned());
                }
                if let Some(module) = module.strip_prefix("crate::") {
                    let defined = (module.to_owned(), name.to_owned());
                    offers.elsewhere.insert(defined);
                }
            }
        }
        offers
    }

    /// Whether a name that is defined in a file is one of those that the client offers.
    fn have(&self, source: &Source, name: &str) -> bool {
        if !self.names.contains(name) {
            return false;
        }
        let defined = || (source.module().join("::"), name.to_owned());
        source.path.starts_with(FOLDER) || self.elsewhere.contains(&defined())
    }
}

/// Every public item of the client that has no example.
pub fn without_example(source: &Source, offers: &Offers) -> Vec<String> {
    let text: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    let mut owner = "";
    for (place, line) in source.plain.lines().enumerate() {
        if line.starts_with("impl") {
            owner = inherent(line);
        } else if line.starts_with('}') {
            owner = "";
        }
        let inner = line.strip_prefix("    ");
        let Some(name) = public_item(inner.unwrap_or(line)) else {
            continue;
        };
        // What belongs to a type is offered where the type is.
        let offered = if inner.is_some() { owner } else { name };
        if offers.have(source, offered) && !has_example(&text[..place]) {
            found.push(format!(
                "{}:{}: `{name}` has no `# Example` in its documentation",
                source.path,
                place + 1
            ));
        }
    }
    found
}

/// What `pub use` lines name: the module, the name there, and the one under which it is offered.
fn public_uses(code: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    for at in words(code, "pub use") {
        let rest = code[at + "pub use".len()..].trim_start();
        let path = rest.split(';').next().unwrap_or_default();
        let group = path.trim_end().strip_suffix('}');
        let parted = match group {
            Some(group) => group.split_once("::{"),
            None => path.rsplit_once("::"),
        };
        let Some((module, names)) = parted else {
            continue;
        };
        for name in names.split(',').map(str::trim) {
            let (name, offered) = name.split_once(" as ").unwrap_or((name, name));
            if !name.is_empty() {
                found.push((module, name, offered));
            }
        }
    }
    found
}

/// The name of the public item that begins with this line, if one does. What is used under another
/// name is documented where it is used.
fn public_item(line: &str) -> Option<&str> {
    let public = line.strip_prefix("pub ")?;
    if let Some(path) = public.strip_prefix("use ") {
        return path.split_once(" as ").map(|(_, name)| first_name(name));
    }
    let named = ITEMS.iter().find_map(|item| public.strip_prefix(item));
    named.map(first_name)
}

/// The type whose own functions and constants follow; empty where they are those of a trait.
fn inherent(line: &str) -> &str {
    let rest = line.strip_prefix("impl").unwrap_or_default();
    if rest.contains(" for ") {
        return "";
    }
    // Behind its parameters.
    let named = match rest.strip_prefix('<') {
        Some(rest) => rest.split_once("> ").map_or("", |(_, named)| named),
        None => rest.trim_start(),
    };
    first_name(named)
}

fn first_name(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

/// Whether the documentation that ends with these lines has an example.
fn has_example(lines: &[&str]) -> bool {
    let above = lines.iter().rev().map(|line| line.trim_start());
    let documentation: Vec<&str> = above
        .take_while(|line| line.starts_with("///") || line.starts_with("#["))
        .collect();
    documentation.contains(&HEADING) && documentation.iter().any(|line| line.starts_with(FENCE))
}
