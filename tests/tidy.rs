//! The rules of the house, checked by reading the sources: layer arrows, layout, sizes, banned
//! calls and names, examples in the documentation of the client, and that continuous integration
//! runs what README tells people to run. Each rule is proved on a bad sample.

#[path = "tidy/calls.rs"]
mod calls;
#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/source.rs"]
mod source;

use source::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The most lines of a file.
const FILE_LINES_MAX: usize = 800;
/// The most lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// What may stand at the top besides names that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "build.rs",
    "certs",
    "clippy.toml",
    "deploy",
    "examples",
    "proto",
    "src",
    "target",
    "tests",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file of the repository.
fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_sources)
}

fn read_sources() -> Vec<Source> {
    let root = root();
    let mut files = vec![root.join("build.rs")];
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let texts: Vec<(String, String)> = files
        .iter()
        .filter(|path| path.exists())
        .map(|path| {
            let below = path.strip_prefix(&root).expect("below the root");
            (below.to_string_lossy().replace('\\', "/"), read(path))
        })
        .collect();
    let test_modules: BTreeSet<String> = texts
        .iter()
        .flat_map(|(path, text)| Source::new(path, text, false).test_modules())
        .collect();
    texts
        .iter()
        .map(|(path, text)| {
            let name = path.trim_end_matches(".rs");
            let module = name.trim_end_matches("/mod");
            let test = path.starts_with("tests/")
                || test_modules.iter().any(|tests| {
                    module == tests
                        || module
                            .strip_prefix(tests.as_str())
                            .is_some_and(|rest| rest.starts_with('/'))
                });
            Source::new(path, text, test)
        })
        .collect()
}

fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(
        sources.len() > 20,
        "only {} files were found",
        sources.len()
    );
    let found: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(
        found.is_empty(),
        "{} findings:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// What a rule says of a sample.
fn on(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text, path.starts_with("tests/"))).len()
}

fn too_long(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!(
            "{}: {lines} lines, {FILE_LINES_MAX} at most",
            source.path
        ));
    }
    // A test outside of `src/` tells a story from its beginning to its end.
    let counted = !source.path.starts_with("tests/");
    for function in source.functions() {
        if counted && function.lines > FUNCTION_LINES_MAX {
            found.push(format!(
                "{}:{}: `{}` has {} lines, {FUNCTION_LINES_MAX} at most",
                source.path, function.line, function.name, function.lines
            ));
        }
    }
    found
}

fn without_purpose(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") {
        Vec::new()
    } else {
        vec![format!(
            "{}: begins without `//!`: what is it for?",
            source.path
        )]
    }
}

#[test]
fn layers_see_only_what_is_below() {
    check(layers::wrong_arrows);
    let rule = layers::wrong_arrows;
    assert_eq!(on(rule, "src/engine/a.rs", "use crate::node::Handle;"), 1);
    assert_eq!(
        on(
            rule,
            "src/engine/a.rs",
            "use crate::{types::A, rpc::{b, c}, error};"
        ),
        2
    );
    assert_eq!(
        on(rule, "src/engine/a.rs", "fn f() { crate::rpc::go() }"),
        1
    );
    assert_eq!(
        on(
            rule,
            "src/engine/a/b.rs",
            "use super::super::super::storage::File;"
        ),
        1
    );
    assert_eq!(
        on(
            rule,
            "src/engine/a/mod.rs",
            "use super::super::storage::File;"
        ),
        1
    );
    assert_eq!(on(rule, "src/cli/a.rs", "use crate::engine::Grid;"), 1);
    assert_eq!(on(rule, "src/client/a.rs", "use crate::node::Handle;"), 1);
    assert_eq!(
        on(rule, "src/types/a.rs", "use crate::config::Settings;"),
        1
    );
    assert_eq!(
        on(rule, "src/service/a.rs", "use crate::node::{Handle, Core};"),
        1
    );
    assert_eq!(on(rule, "src/oddments/a.rs", ""), 1);
    let fine = "//! See `crate::node`.\nuse crate::types::A;\nuse super::b;\n\
                #[cfg(test)]\nmod tests { use crate::node::Handle; }";
    assert_eq!(on(rule, "src/engine/a.rs", fine), 0);
    assert_eq!(
        on(rule, "src/node/a.rs", "use crate::{engine::Grid, rpc};"),
        0
    );
}

#[test]
fn calls_stand_where_they_belong() {
    check(calls::banned_calls);
    let rule = calls::banned_calls;
    for call in [
        "tokio::spawn(x)",
        "Instant::now()",
        "x.await",
        "std::fs::read(x)",
        "SystemTime::now()",
    ] {
        let text = format!("fn f() {{ {call} }}");
        assert_eq!(on(rule, "src/engine/a.rs", &text), 1, "{call}");
        assert_eq!(on(rule, "src/rpc/a.rs", &text), 0, "{call}");
    }
    for call in [
        "x.unwrap()",
        "todo!()",
        "unimplemented!()",
        "dbg!(x)",
        "panic!(\"x\")",
    ] {
        let text = format!("fn f() {{ {call} }}");
        assert_eq!(on(rule, "src/client/a.rs", &text), 1, "{call}");
        let test = format!("fn f() {{ \"{{}}\"; }}\n#[cfg(test)]\nmod tests {{ {text} }}");
        assert_eq!(on(rule, "src/client/a.rs", &test), 0, "{call}");
    }
    assert_eq!(on(rule, "src/node/a.rs", "use tonic::Status;"), 1);
    assert_eq!(on(rule, "src/rpc/a.rs", "fn f() { println!(\"x\") }"), 1);
    assert_eq!(on(rule, "src/cli/a.rs", "fn f() { println!(\"x\") }"), 0);
    let fine = "// x.unwrap()\nfn f<'a>(x: &'a str) { let _ = (r#\"panic!(\"#, '\"', x.unwrap_or(\"todo!()\")); }";
    assert_eq!(on(rule, "src/client/a.rs", fine), 0);
}

#[test]
fn files_and_functions_stay_short() {
    check(too_long);
    let long = format!(
        "fn f() {{\n{}}}\n",
        "let x = '{';\n".repeat(FUNCTION_LINES_MAX)
    );
    assert_eq!(on(too_long, "src/a.rs", &long), 1);
    let fits = format!(
        "fn f() {{\n{}}}\n",
        "let x = \"{\";\n".repeat(FUNCTION_LINES_MAX - 2)
    );
    assert_eq!(on(too_long, "src/a.rs", &fits.repeat(2)), 0);
    assert_eq!(
        on(too_long, "src/a.rs", &"\n".repeat(FILE_LINES_MAX + 1)),
        1
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    check(without_purpose);
    assert_eq!(on(without_purpose, "src/a.rs", "use x;"), 1);
}

#[test]
fn names_say_something() {
    check(calls::empty_names);
    let rule = calls::empty_names;
    assert_eq!(on(rule, "src/rpc/util.rs", ""), 1);
    assert_eq!(on(rule, "tests/common/mod.rs", ""), 1);
    assert_eq!(
        on(
            rule,
            "src/a.rs",
            "struct LinkManager;\nfn test_helper() {}\nmod misc;"
        ),
        3
    );
    assert_eq!(on(rule, "src/a.rs", "struct Utility; fn commonly() {}"), 0);
}

#[test]
fn tests_are_neither_skipped_nor_a_matter_of_luck() {
    check(calls::unsure_tests);
    let rule = calls::unsure_tests;
    assert_eq!(on(rule, "tests/a.rs", "#[test]\n#[ignore]\nfn f() {}"), 1);
    assert_eq!(
        on(rule, "tests/a.rs", "#[test]\nfn f() {\n    sleep(x);\n}"),
        1
    );
    let inside = "#[cfg(test)]\nmod tests {\n    fn f() {\n        sleep(x);\n    }\n}";
    assert_eq!(on(rule, "src/a.rs", inside), 1);
    assert_eq!(on(rule, "src/a.rs", "fn f() {\n    sleep(x);\n}"), 0);
    let patient = "fn f(deadline: I) {\n    while now() < deadline { sleep(POLL); }\n}";
    assert_eq!(on(rule, "tests/a.rs", patient), 0);
}

#[test]
fn what_the_client_offers_has_an_example() {
    let offers = examples::Offers::of(sources());
    check(|source| examples::without_example(source, &offers));
    let front =
        "pub use a::{A, go};\npub use crate::types::b::B;\npub use crate::rpc as letters;\n";
    let front = Source::new("src/client/mod.rs", front, false);
    let offers = examples::Offers::of([&front]);
    let rule = |source: &Source| examples::without_example(source, &offers);
    let example = "/// # Example\n    ///\n    /// ```\n    /// go();\n    /// ```";
    for (path, item) in [
        ("src/client/a.rs", "DOC\npub struct A;"),
        ("src/client/a.rs", "DOC\n#[derive(Debug)]\npub enum A {}"),
        ("src/client/a.rs", "DOC\npub fn go() {}"),
        ("src/client/b/c.rs", "DOC\npub async fn go() {}"),
        (
            "src/client/b/c.rs",
            "impl A {\n    DOC\n    pub fn f() {}\n}",
        ),
        (
            "src/client/b/c.rs",
            "impl<T> A<T> {\n    DOC\n    pub const C: u8 = 1;\n}",
        ),
        (
            "src/client/mod.rs",
            "impl Client {\n    DOC\n    pub async fn f() {}\n}",
        ),
        ("src/client/mod.rs", "DOC\npub use crate::rpc as letters;"),
        ("src/types/b.rs", "DOC\npub enum B {}"),
    ] {
        let bad = item.replace("DOC", "/// What it is.");
        assert_eq!(on(rule, path, &bad), 1, "{bad}");
        let heading = item.replace("DOC", "/// # Example\n    /// None.");
        assert_eq!(on(rule, path, &heading), 1, "{heading}");
        let good = item.replace("DOC", example);
        assert_eq!(on(rule, path, &good), 0, "{good}");
    }
    for (path, text) in [
        (
            "src/client/a.rs",
            "pub struct Hidden;\nimpl Hidden {\n    pub fn f() {}\n}",
        ),
        (
            "src/client/a.rs",
            "impl A {\n    pub(super) fn f() {}\n    fn g() {}\n}",
        ),
        (
            "src/client/a.rs",
            "impl From<B> for A {\n    fn from() {}\n}\npub fn other() {}",
        ),
        (
            "src/client/a.rs",
            "#[cfg(test)]\nmod tests {\n    pub fn go() {}\n}",
        ),
        ("src/types/c.rs", "pub enum B {}"),
    ] {
        assert_eq!(on(rule, path, text), 0, "{text}");
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    for entry in std::fs::read_dir(root()).expect("the root") {
        let name = entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        let known = name.starts_with('.') || TOP_LEVEL.contains(&name.as_str());
        assert!(known, "`{name}` is not part of the layout");
    }
}

#[test]
fn continuous_integration_runs_what_readme_says() {
    let ci = read(&root().join(".ci/run"));
    let (_, after) = ci
        .split_once("# The second command of README.\n")
        .expect("the mark in .ci/run");
    let command = after.lines().next().expect("the command");
    let readme = read(&root().join("README.md"));
    assert!(
        readme.lines().any(|line| line.trim() == command),
        "README does not tell people to run `{command}`"
    );
    for command in [
        "cargo fmt",
        "cargo clippy --all-targets -- -D warnings",
        "cargo doc",
    ] {
        assert!(ci.contains(command), "`{command}` is not run");
    }
}
