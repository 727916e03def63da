//! `certs`: a development authority, and certificates that it signs.

use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use crate::config::{Password, StoreType};
use crate::rpc::certificate_files::{Forms, Wanted, write_stores};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Make a development authority and certificates; an existing file is never overwritten
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  embergrid certs authority\n  \
                        embergrid certs node node-1 --host node-1.example.org\n  \
                        embergrid certs client console\n  \
                        embergrid certs node node-2 --form pkcs12,jks --password-file password\n\n\
                        NAME.pem is the certificate. NAME.key.pem, NAME.p12 and NAME.jks are key \
                        stores: the key and its chain. authority.pem, authority.p12 and \
                        authority.jks are everybody's trust stores.")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Folder that the files are in and go to
    #[arg(long, default_value = "certs", global = true)]
    folder: PathBuf,
    /// How many days they are good for
    #[arg(long, default_value_t = 365, global = true)]
    days: u32,
    /// Forms of key and trust stores; with commas for several
    #[arg(
        long = "form",
        value_enum,
        default_value = "pem",
        value_delimiter = ',',
        global = true
    )]
    forms: Vec<Form>,
    /// File with the password of stores in the forms pkcs12 and jks
    #[arg(long, value_name = "FILE", global = true)]
    password_file: Option<PathBuf>,
    /// What is printed
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "EMBERGRID_OUTPUT",
        global = true
    )]
    output: Output,
}

/// The form of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// NAME.key.pem, without a password
    Pem,
    /// NAME.p12
    Pkcs12,
    /// NAME.jks
    Jks,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an authority (nodes and clients make it too, where there is none)
    #[command(after_help = "Example:\n  embergrid certs authority --folder certs")]
    Authority {
        /// Its name
        #[arg(long, default_value = DEFAULT_AUTHORITY)]
        name: String,
    },
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

const DEFAULT_AUTHORITY: &str = "embergrid development authority";

pub(super) fn run(arguments: Arguments) -> Outcome {
    let forms = forms(&arguments)?;
    let mut wanted = Wanted {
        authority: DEFAULT_AUTHORITY.to_owned(),
        nodes: Vec::new(),
        clients: Vec::new(),
        days: arguments.days,
    };
    match arguments.what {
        What::Authority { name } => wanted.authority = name,
        What::Node { name, hosts } => wanted.nodes.push((name, hosts)),
        What::Client { name } => wanted.clients.push(name),
    }
    let written = write_stores(&arguments.folder, &wanted, &forms)?;
    match arguments.output {
        Output::Json => output::json(&json!({ "written": written })),
        Output::Table => report(&written, &arguments.folder),
    }
    Ok(Answer::Yes)
}

fn forms(arguments: &Arguments) -> Result<Forms, Failure> {
    let types: Vec<StoreType> = arguments.forms.iter().map(|form| form.store()).collect();
    let password = arguments.password_file.clone().map(Password::File);
    if password.is_none() && types.iter().any(|form| *form != StoreType::Pem) {
        let what = "stores in the forms pkcs12 and jks need a password; give --password-file";
        return Err(Failure::usage(what));
    }
    let password = password.as_ref().map(Password::read).transpose();
    Ok(Forms {
        types,
        password: password.map_err(Failure::usage)?,
    })
}

impl Form {
    fn store(self) -> StoreType {
        match self {
            Self::Pem => StoreType::Pem,
            Self::Pkcs12 => StoreType::Pkcs12,
            Self::Jks => StoreType::Jks,
        }
    }
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
