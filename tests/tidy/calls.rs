//! Calls and names that have no place: in one folder, or anywhere.

use super::source::{Source, words};

/// What must not stand in the code of a folder, with the reason.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "src/engine/",
        &[
            "tokio",
            "tonic",
            "prost",
            "async",
            "await",
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
            "Instant",
            "SystemTime",
            "rand",
            "getrandom",
            "println!",
            "eprintln!",
            "print!",
            "tracing",
            "RandomState",
        ],
        "the engine is pure: time and randomness are arguments, effects are answers",
    ),
    (
        "src/types/",
        &[
            "tokio",
            "tonic",
            "std::fs",
            "std::thread",
            "Instant",
            "SystemTime",
        ],
        "plain data",
    ),
    (
        "src/node/",
        &["tonic", "prost"],
        "the node knows no wire format",
    ),
    (
        "src/config/",
        &["tokio", "tonic", "TcpListener"],
        "loading settings starts nothing",
    ),
    (
        "src/",
        &[
            "todo!",
            "unimplemented!",
            "dbg!",
            "panic!",
            ".unwrap()",
            ".unwrap_err()",
            "unsafe",
        ],
        "a fault is an error that somebody can handle",
    ),
    (
        "src/",
        &["std::thread::sleep", "thread::sleep"],
        "a sleeping thread serves nobody",
    ),
];

/// Where texts may be written to the terminal.
const PRINTING: &[&str] = &["src/cli/", "src/main.rs"];

/// Exceptions: file, what stands there, and why.
const ALLOWED: &[(&str, &str, &str)] = &[];

/// Words that say nothing about what is inside.
const EMPTY_WORDS: &[&str] = &[
    "util", "utils", "helper", "helpers", "manager", "managers", "common", "misc",
];

/// Every banned call in the code that is not test code.
pub fn banned_calls(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let allowed = |call: &str| {
        ALLOWED
            .iter()
            .any(|(path, what, _)| *path == source.path && *what == call)
    };
    for (folder, calls, reason) in BANNED {
        if !source.path.starts_with(folder) {
            continue;
        }
        for call in *calls {
            for at in words(&source.plain, call) {
                if !allowed(call) {
                    found.push(format!(
                        "{}:{}: `{call}`: {reason}",
                        source.path,
                        source.line(at)
                    ));
                }
            }
        }
    }
    let may_print = PRINTING.iter().any(|place| source.path.starts_with(place));
    if source.path.starts_with("src/") && !may_print {
        for call in ["println!", "eprintln!", "print!", "eprint!"] {
            for at in words(&source.plain, call) {
                let line = source.line(at);
                found.push(format!(
                    "{}:{line}: `{call}` outside of the command line",
                    source.path
                ));
            }
        }
    }
    found
}

/// Tests that are skipped, and tests that hope that some time is enough.
pub fn unsure_tests(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for at in words(&source.code, "#[ignore") {
        found.push(format!(
            "{}:{}: an ignored test",
            source.path,
            source.line(at)
        ));
    }
    for function in source.functions() {
        let in_tests = source.path.starts_with("tests/") || is_test(source, function.line);
        let waits = words(function.code, "sleep").next().is_some();
        let loops = words(function.code, "loop")
            .chain(words(function.code, "while"))
            .next()
            .is_some();
        let bounded = ["deadline", "Instant::now()"]
            .iter()
            .any(|word| function.code.contains(word));
        if in_tests && waits && !(loops && bounded) {
            found.push(format!(
                "{}:{}: `{}` sleeps and hopes; wait for a condition in a loop with a deadline",
                source.path, function.line, function.name
            ));
        }
    }
    found
}

fn is_test(source: &Source, line: usize) -> bool {
    source
        .plain
        .lines()
        .nth(line - 1)
        .is_some_and(|line| line.trim().is_empty())
}

/// Names of files, modules, types and functions that say nothing.
pub fn empty_names(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |line: usize, name: &str| {
        if name_words(name)
            .iter()
            .any(|word| EMPTY_WORDS.contains(&word.as_str()))
        {
            found.push(format!(
                "{}:{line}: `{name}` says nothing about what it is",
                source.path
            ));
        }
    };
    for part in source.path.split(['/', '.']) {
        check(1, part);
    }
    for keyword in ["mod", "struct", "enum", "trait", "fn", "type"] {
        for at in words(&source.code, keyword) {
            let rest = source.code[at + keyword.len()..].trim_start();
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            check(source.line(at), &rest[..end]);
        }
    }
    found
}

fn name_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in name.chars() {
        if character == '_' || character == '-' || character.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut()
            && character.is_alphanumeric()
        {
            word.extend(character.to_lowercase());
        }
    }
    words
}
