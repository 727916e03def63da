//! Running programs to their end within a bound.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The program under test.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_embergrid"))
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Absent where a signal ended it.
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

/// Ends the program with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal, such as `-TERM`, to a process.
pub fn signal(process: u32, name: &str) {
    let told = Command::new("kill")
        .arg(name)
        .arg(process.to_string())
        .status();
    assert!(told.expect("kill can be run").success());
}

/// Runs a program to its end.
///
/// # Panics
///
/// Where it cannot be started or does not end within the limit.
pub fn run(command: &mut Command, limit: Duration) -> Ended {
    let mut running = Running(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}")),
    );
    let output = collect(running.0.stdout.take());
    let errors = collect(running.0.stderr.take());
    let give_up = Instant::now() + limit;
    let status = loop {
        if let Some(status) = running.0.try_wait().expect("its state can be asked") {
            break status;
        }
        assert!(
            Instant::now() < give_up,
            "{command:?} did not end within {limit:?}"
        );
        thread::sleep(Duration::from_millis(5));
    };
    let read = |reader: thread::JoinHandle<String>| reader.join().expect("a reader ends");
    Ended {
        code: status.code(),
        output: read(output),
        errors: read(errors),
    }
}

/// Runs `embergrid` with these arguments, and without settings from this environment.
pub fn embergrid(arguments: &[&str], limit: Duration) -> Ended {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EMBERGRID_") {
            command.env_remove(name);
        }
    }
    run(command.args(arguments), limit)
}

fn collect(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
