//! The floor: a service that answers the same messages over the same TLS and gRPC stack, on a
//! listener that is set up as a node's is, with nothing behind it. What a node's call costs beyond
//! this is ours; what this costs is the price of a gRPC call here.

use crate::cli::connection::tls_flags;
use crate::cli::outcome::{Answer, Failure, Outcome};
use crate::cli::output;
use crate::config::{self, Settings};
use crate::error::{Error, ErrorKind};
use crate::rpc::acceptor::Acceptor;
use crate::rpc::renewal::Renewal;
use crate::service::echo;
use clap::Args;
use std::future::pending;
use std::path::PathBuf;

/// Serve the floor of `bench` until this process is ended (for `bench` itself)
#[derive(Debug, Args)]
#[command(after_help = "Example: embergrid bench --floor starts it by itself.")]
pub struct Arguments {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS")]
    listen: String,
    /// Bytes of the value that a read is answered with
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    value_size: usize,
    /// PEM file with the private key and the certificate of a node
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// PEM file with the authorities of clients
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let flags = tls_flags(Some(&arguments.key), Some(&arguments.trust));
    let settings = Settings::load(None, config::environment(), flags)
        .map_err(|problems| Failure::settings(&problems))?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("embergrid-floor")
        .build()
        .map_err(|error| Failure::failed(format!("start the runtime: {error}")))?
        .block_on(serve(&settings, arguments))
}

async fn serve(settings: &Settings, arguments: &Arguments) -> Outcome {
    let tls = Renewal::start(&settings.tls)?;
    let listener = tokio::net::TcpListener::bind(&arguments.listen)
        .await
        .map_err(|error| {
            let text = format!("listen on {}: {error}", arguments.listen);
            Failure::from(Error::new(ErrorKind::Unavailable, text))
        })?;
    let limits = &settings.limits;
    let connections_max = usize::try_from(limits.connections_max).unwrap_or(usize::MAX);
    let acceptor = Acceptor::new(tls, settings.discovery.socket_timeout, connections_max);
    output::line(format_args!(
        "embergrid: the floor is at {}",
        arguments.listen
    ));
    let stopped = async {
        if arguments.stop_with_stdin {
            crate::cli::node::standard_input_ended().await;
        } else {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = echo::serve(listener, acceptor, arguments.value_size, limits) => {}
        () = stopped => {}
    }
    Ok(Answer::Yes)
}
