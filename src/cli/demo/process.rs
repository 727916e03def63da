//! One node as a process of its own. It is killed when this value ends, and it ends by itself
//! when the process that started it is gone (see `--stop-with-stdin` of `node`).

use crate::cli::outcome::Failure;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How many lines of a node's log are shown when it did not do what was expected.
const LOG_LINES_SHOWN: usize = 8;

/// A running node.
#[derive(Debug)]
pub struct NodeProcess {
    child: Option<Child>,
    log: PathBuf,
}

impl NodeProcess {
    /// Starts `program COMMAND ARGUMENTS`; what it prints goes to the file `log`.
    ///
    /// With `outlives`, it goes on running when this process ends.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn start(
        program: &Path,
        command: &str,
        arguments: &[String],
        log: &Path,
        outlives: bool,
    ) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| Failure::failed(format!("start a node: {error}"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(refused)?;
        let errors = out.try_clone().map_err(refused)?;
        let mut process = Command::new(program);
        process
            .arg(command)
            .args(arguments)
            .stdout(out)
            .stderr(errors);
        // A group of its own: an interrupt on the terminal is for the story, which ends its nodes.
        process.process_group(0);
        if outlives {
            process.stdin(Stdio::null());
        } else {
            process.arg("--stop-with-stdin").stdin(Stdio::piped());
        }
        let child = process.spawn().map_err(refused)?;
        Ok(Self {
            child: Some(child),
            log: log.to_owned(),
        })
    }

    /// The process id, while it is ours.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it without warning (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it go on without us.
    pub fn release(mut self) {
        self.child = None;
    }

    /// Whether it is still running.
    pub fn running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The last lines that it printed.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
