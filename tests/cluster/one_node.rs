//! One node as a process, from a settings file: the line that says it serves, the caches of the
//! file, and its end by a signal.

use crate::commands::LIMIT;
use crate::process::{embergrid, program, signal};
use crate::rig::kept_port;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;
use tokio::net::TcpSocket;

/// Ends with the test.
struct Node {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn start(settings: &Path) -> Self {
        let mut child = Command::new(program())
            .args(["node", "--stop-with-stdin", "--config"])
            .arg(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self { child, output }
    }

    /// The first line that it prints; empty where it ends before.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("its output can be read");
        line
    }

    /// Waits until it ends and its output with it.
    fn ended(&mut self) -> Option<i32> {
        let mut rest = String::new();
        self.output
            .read_to_string(&mut rest)
            .expect("its output can be read");
        self.child.wait().expect("it can be waited for").code()
    }
}

/// Free at this moment; the node says so where somebody took it since.
/// A port, and what keeps it for the node.
fn free_port() -> (TcpSocket, u16) {
    let kept = kept_port(([127, 0, 0, 1], 0).into());
    let address = kept.local_addr().expect("an address");
    (kept, address.port())
}

fn file(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

#[test]
fn a_node_says_that_it_serves_and_leaves_when_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for arguments in [["node", "only"], ["client", "console"]] {
        let place = path.to_str().expect("a plain path");
        let made = embergrid(
            &["certs", arguments[0], arguments[1], "--folder", place],
            LIMIT,
        );
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let (_kept, port) = free_port();
    let settings = path.join("embergrid.toml");
    let text = format!(
        "[cluster]\nnode-name = \"only\"\n\n[discovery]\naddresses = [\"127.0.0.1:{port}\"]\n\
         local-port = {port}\n\n[tls]\nkey-store-file-path = \"{}\"\nkey-store-type = \"PEM\"\n\
         trust-store-file-path = \"{}\"\ntrust-store-type = \"PEM\"\n\n\
         [[caches]]\nname = \"sessions\"\ntime-to-live = \"8h\"\ntime-to-idle = \"2h\"\n",
        file(path, "only.key.pem"),
        file(path, "authority.pem"),
    );
    std::fs::write(&settings, text).expect("a file is written");

    let begin = Instant::now();
    let mut node = Node::start(&settings);
    let line = node.first_line();
    println!(
        "a node alone serves {} ms after its start",
        begin.elapsed().as_millis()
    );
    let address = format!("127.0.0.1:{port}");
    assert_eq!(
        line,
        format!("embergrid: node only serving on {address} (cluster of 1)\n")
    );

    let (key, trust) = (file(path, "console.key.pem"), file(path, "authority.pem"));
    let flags = ["--address", &address, "--key", &key, "--trust", &trust];
    let run = |arguments: &[&str]| embergrid(&[arguments, &flags].concat(), LIMIT);
    let stored = run(&["put", "sessions", "TGT-1", "alice"]);
    assert_eq!(stored.code, Some(0), "{stored:?}");
    let read = run(&["get", "sessions", "TGT-1", "--output", "json"]);
    let entry: serde_json::Value = serde_json::from_str(&read.output).expect("JSON");
    assert_eq!(entry["value"], "alice");
    assert!(
        entry["expires-at"].is_string() && entry["idle-expires-at"].is_string(),
        "{entry}"
    );

    let begin = Instant::now();
    signal(node.child.id(), "-TERM");
    assert_eq!(node.ended(), Some(0), "an orderly leave is a success");
    println!(
        "it left {} ms after the signal",
        begin.elapsed().as_millis()
    );
    assert_eq!(run(&["get", "sessions", "TGT-1"]).code, Some(3));
}

#[test]
fn the_properties_file_of_an_operator_starts_a_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = folder.path().join("certs");
    let place = certificates.to_str().expect("a plain path");
    let password = folder.path().join("password");
    std::fs::write(&password, "changeit\n").expect("a file is written");
    let password = password.to_str().expect("a plain path");
    let forms = ["--form", "pem,jks", "--password-file", password];
    for arguments in [["node", "node-1"], ["client", "console"]] {
        let made = ["certs", arguments[0], arguments[1], "--folder", place];
        let made = embergrid(&[&made[..], &forms].concat(), LIMIT);
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    // The example with another port: others may use the usual ones on this machine.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/registry.properties");
    let example = std::fs::read_to_string(example).expect("the example");
    let (_kept, port) = free_port();
    let text = example
        .replace("localhost:47500..47509", &format!("127.0.0.1:{port}"))
        .replace("local-port=-1", &format!("local-port={port}"));
    assert_eq!(
        text.matches(&port.to_string()).count(),
        2,
        "both were replaced"
    );
    let settings = folder.path().join("examples/registry.properties");
    std::fs::create_dir(folder.path().join("examples")).expect("a folder");
    std::fs::write(&settings, text).expect("a file is written");

    let mut node = Node::start(&settings);
    let address = format!("127.0.0.1:{port}");
    assert!(node.first_line().contains(&format!("serving on {address}")));
    let (key, trust) = (
        file(&certificates, "console.key.pem"),
        file(&certificates, "authority.pem"),
    );
    let flags = ["--address", &address, "--key", &key, "--trust", &trust];
    let put = ["put", "tickets", "TGT-1", "alice"];
    let stored = embergrid(&[&put[..], &flags].concat(), LIMIT);
    assert_eq!(stored.code, Some(0), "{stored:?}");
    signal(node.child.id(), "-TERM");
    assert_eq!(node.ended(), Some(0));
}
