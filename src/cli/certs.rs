//! `certs`: a development authority, and certificates that it signs.

use super::outcome::{Answer, Outcome};
use super::output;
use crate::rpc::certificates::{self, Wanted};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Make a development authority and certificates; an existing file is never overwritten
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid certs authority\n  \
                        embergrid certs node node-1 --host node-1.example.org\n  \
                        embergrid certs client console\n\n\
                        NAME.pem is the certificate. NAME.key.pem is the key store: the key and \
                        the certificate. authority.pem is everybody's trust store.")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Folder that the files are in and go to
    #[arg(long, default_value = "certs", global = true)]
    folder: PathBuf,
    /// How many days they are good for
    #[arg(long, default_value_t = 365, global = true)]
    days: u32,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an authority (nodes and clients make it too, where there is none)
    #[command(after_help = "Example:\n  embergrid certs authority --folder certs")]
    Authority,
    /// Make the certificate of a node
    #[command(after_help = "Example:\n  embergrid certs node node-1 --host 10.0.0.7")]
    Node {
        /// Its name
        name: String,
        /// Host or IP address that it is reached under, besides loopback; repeatable
        #[arg(long = "host")]
        hosts: Vec<String>,
    },
    /// Make the certificate of a client
    #[command(after_help = "Example:\n  embergrid certs client console")]
    Client {
        /// Its name
        name: String,
    },
}

pub(super) fn run(arguments: Arguments) -> Outcome {
    let mut wanted = Wanted {
        authority: "embergrid development authority".to_owned(),
        nodes: Vec::new(),
        clients: Vec::new(),
        days: arguments.days,
    };
    match arguments.what {
        What::Authority => {}
        What::Node { name, hosts } => wanted.nodes.push((name, hosts)),
        What::Client { name } => wanted.clients.push(name),
    }
    report(
        &certificates::write_all(&arguments.folder, &wanted)?,
        &arguments.folder,
    );
    Ok(Answer::Yes)
}

fn report(written: &[PathBuf], folder: &Path) {
    if written.is_empty() {
        output::line(format_args!(
            "{}: the authority is there already",
            folder.display()
        ));
    }
    for path in written {
        output::line(path.display());
    }
}
