//! A client that is not ours: stubs that grpcio-tools makes from `proto/`, and two sign-on servers
//! that keep their tickets in a running cluster over mutual TLS, each through another node.

use crate::local::started;
use crate::process::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// Fetching packages may take long on a slow line.
const PREPARE_LIMIT: Duration = Duration::from_secs(300);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python(paths: &[&Path]) -> Command {
    let mut command = Command::new("python3");
    let paths = std::env::join_paths(paths).expect("plain paths");
    command
        .env("PYTHONPATH", paths)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(repository());
    command
}

/// The folder with the packages that the examples need; fetched where nobody has done so before.
fn packages() -> PathBuf {
    let folder = repository().join("target/python");
    let known = run(
        python(&[&folder]).args(["-c", "import grpc, grpc_tools"]),
        LIMIT,
    );
    if known.code != Some(0) {
        let prepared = run(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(&folder)
                .arg("-r")
                .arg(repository().join("examples/python/requirements.txt")),
            PREPARE_LIMIT,
        );
        assert_eq!(
            prepared.code,
            Some(0),
            "README names the command: {}",
            prepared.errors
        );
    }
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_python_servers_sign_users_on() {
    let packages = packages();
    let stubs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-stubs");
    let generated = run(
        python(&[&packages])
            .arg("examples/python/generate.py")
            .arg(&stubs),
        LIMIT,
    );
    assert_eq!(generated.code, Some(0), "{generated:?}");

    let (cluster, _) = started(2).await;
    let mut command = python(&[&packages, &stubs]);
    command.arg("examples/python/sign_on.py");
    for index in 0..cluster.size() {
        command.arg("--address").arg(cluster.address(index));
    }
    command
        .arg("--cert")
        .arg(cluster.file("client", "pem"))
        .arg("--key")
        .arg(cluster.file("client", "key.pem"))
        .arg("--trust")
        .arg(cluster.authority());
    let ended = run(&mut command, LIMIT);
    println!("{}", ended.output);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    for step in [
        "server 2, at another node, whose it is: alice",
        "1 succeeded",
        "an administrator logs bob out everywhere",
        "nobody is told anything twice",
        "all of it held",
    ] {
        assert!(ended.output.contains(step), "{step:?}: {}", ended.output);
    }
}
