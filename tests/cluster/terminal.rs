//! Commands on a terminal: colours where they are wanted, and the live view. The terminal is one
//! that Python makes.

use crate::commands::LIMIT;
use crate::console::Console;
use crate::process::{Ended, program, run};
use std::process::Command;

/// Runs a program on a terminal of its own, types keys when a word is seen, and prints all that
/// it wrote.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
word, keys = sys.argv[1].encode(), sys.argv[2].encode()
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    os.execv(sys.argv[3], sys.argv[3:])
seen = b""
while True:
    try:
        some = os.read(terminal, 65536)
    except OSError:
        break
    if not some:
        break
    seen += some
    if keys and word in seen:
        os.write(terminal, keys)
        keys = b""
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

fn on_a_terminal(
    console: &Console,
    arguments: &[&str],
    typed: [&str; 2],
    environment: &[(&str, &str)],
) -> Ended {
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL]).args(typed).arg(program());
    command.args(arguments).args(&console.flags);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command.envs(environment.iter().copied());
    run(&mut command, LIMIT)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colours_are_for_terminals_that_want_them() {
    let console = Console::start(1).await;
    for arguments in [&["topology"][..], &["partitions"]] {
        let coloured = on_a_terminal(&console, arguments, ["", ""], &[]);
        assert_eq!(coloured.code, Some(0), "{coloured:?}");
        assert!(coloured.output.contains("\x1b["), "{coloured:?}");
        let plain = on_a_terminal(&console, arguments, ["", ""], &[("NO_COLOR", "1")]);
        assert_eq!(plain.code, Some(0), "{plain:?}");
        assert!(!plain.output.contains("\x1b["), "{plain:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_view_ends_with_a_key() {
    let console = Console::start(1).await;
    let watch = ["topology", "--watch"];
    let ended = on_a_terminal(&console, &watch, ["sessions", "q"], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for word in ["node-1", "sessions", "coordinator"] {
        assert!(ended.output.contains(word), "{word}: {ended:?}");
    }
}
