//! `demo`: the main job in one command. Three nodes find each other over mutual TLS, keep the
//! tickets of a sign-on, lose a node, and lose nothing.

mod cluster;
mod folder;
mod loss;
mod narrator;
mod process;
mod sign_on;
mod story;
mod tickets;
mod together;
mod witness;

pub use cluster::{LocalCluster, names, wait_for_view};
pub use folder::Folder;
pub use process::NodeProcess;
pub use witness::{Report, Witness};

use super::interrupt::interrupted;
use super::outcome::{Answer, Failure, Outcome};
use clap::Args;
use narrator::Narrator;
use std::path::Path;

/// How many nodes there are.
const NODES: u16 = 3;

/// Start three nodes on this machine, keep the tickets of a sign-on in them, kill one, lose nothing
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid demo --keep")]
pub struct Arguments {
    /// Leave the cluster running and print what to try
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("the path of this program: {error}")))?;
    let mut narrator = Narrator::new();
    let interrupted = interrupted();
    let mut cluster = LocalCluster::prepare(&program, NODES, arguments.keep)?;
    cluster.configure(sign_on::SETTINGS)?;
    tokio::select! {
        told = story::tell(&mut cluster, &mut narrator) => {
            if let Err(failure) = told {
                lament(&cluster, &narrator);
                return Err(failure);
            }
        }
        failure = interrupted => return Err(failure),
    }
    narrator.chapter(&format!("All {} steps held.", narrator.told()));
    if arguments.keep {
        explain(&cluster, &narrator, &program);
        cluster.release();
    }
    Ok(Answer::Yes)
}

/// What helps to find out why the story did not hold.
fn lament(cluster: &LocalCluster, narrator: &Narrator) {
    narrator.failed("the story ends here; the nodes said last:");
    for index in 0..cluster.size() {
        for line in cluster.last_words(index).lines() {
            narrator.remark(format_args!("{}: {line}", cluster.name(index)));
        }
    }
}

/// What a user can do with the cluster that keeps running.
fn explain(cluster: &LocalCluster, narrator: &Narrator, program: &Path) {
    let program = program.display();
    let flags = format!(
        "--address {} --key {} --trust {}",
        cluster.addresses(),
        cluster.file("client", "key.pem").display(),
        cluster.authority().display()
    );
    narrator.chapter("The cluster keeps running. What to try:");
    narrator.remark(format_args!("{program} topology {flags}"));
    for what in [
        "ticket add TGT TGT-bob --principal bob",
        "ticket add ST ST-bob --parent TGT-bob --time-to-live 10m",
        "sessions bob",
        "ticket use ST-bob",
        "ticket watch --current",
        "logout bob",
    ] {
        narrator.remark(format_args!("{program} {what} {flags}"));
    }
    let ids: Vec<String> = cluster.process_ids().iter().map(u32::to_string).collect();
    narrator.chapter("To stop it:");
    narrator.remark(format_args!("kill {}", ids.join(" ")));
    narrator.remark(format_args!("rm -r {}", cluster.folder().display()));
}
