//! The flags by which a command finds and reaches a cluster.

use super::outcome::Failure;
use super::output::Output;
use super::settings::{self, User};
use crate::client::{Client, Options};
use crate::config::{Checked, Settings};
use clap::Args;
use std::path::PathBuf;

/// Where the cluster is, and who is asking.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// A node: host, host:port or host:port1..port2; repeatable. Any node answers any request.
    #[arg(
        long = "address",
        value_name = "ADDRESS",
        env = "EMBERGRID_ADDRESS",
        value_delimiter = ','
    )]
    addresses: Vec<String>,
    /// File with the client's private key and its certificate: PEM, or .p12 or .jks (its password
    /// by EMBERGRID_TLS__KEY_STORE_PASSWORD or settings)
    #[arg(long = "key", value_name = "FILE", env = "EMBERGRID_KEY")]
    key_store: Option<PathBuf>,
    /// File with the authorities whose nodes are trusted: PEM, or .p12 or .jks
    #[arg(long = "trust", value_name = "FILE", env = "EMBERGRID_TRUST")]
    trust_store: Option<PathBuf>,
    /// Settings file to take the address list and the certificates from
    #[arg(long, value_name = "FILE", env = "EMBERGRID_CONFIG")]
    config: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t, env = "EMBERGRID_OUTPUT")]
    pub output: Output,
}

/// The settings of the environment that hold the address list begin so.
const LISTS: &str = "EMBERGRID_DISCOVERY__";

impl Connection {
    /// A client that is connected.
    pub async fn client(&self) -> Result<Client, Failure> {
        self.client_with(Options::default()).await
    }

    /// Whether a flag or the environment says where the cluster is.
    pub fn names_a_cluster(&self) -> bool {
        let settings = ["ADDRESSES", "IGNITE_ADDRESS"].map(|name| format!("{LISTS}{name}"));
        let named = || settings.iter().any(|name| std::env::var_os(name).is_some());
        !self.addresses.is_empty() || self.config.is_some() || named()
    }

    /// A client that is connected, with these bounds.
    pub async fn client_with(&self, options: Options) -> Result<Client, Failure> {
        let mut flags = Vec::new();
        if !self.addresses.is_empty() {
            flags.push(("discovery.addresses".to_owned(), self.addresses.join(",")));
        }
        flags.extend(tls_flags(
            self.key_store.as_ref(),
            self.trust_store.as_ref(),
        ));
        let Checked {
            settings, problems, ..
        } = settings::examine(self.config.as_deref(), flags, User::Client);
        if !problems.is_empty() {
            return Err(Failure::settings(&problems));
        }
        connect(&settings, options).await
    }
}

/// The settings that the flags `--key` and `--trust` stand for.
pub fn tls_flags(key: Option<&PathBuf>, trust: Option<&PathBuf>) -> Vec<(String, String)> {
    let mut flags = Vec::new();
    for (store, path) in [("key", key), ("trust", trust)] {
        if let Some(path) = path {
            let form = match path.extension().and_then(|end| end.to_str()) {
                Some("p12" | "pfx") => "PKCS12",
                Some("jks") => "JKS",
                _ => "PEM",
            };
            let path = path.to_string_lossy().into_owned();
            flags.push((format!("tls.{store}-store-file-path"), path));
            flags.push((format!("tls.{store}-store-type"), form.to_owned()));
        }
    }
    flags
}

/// A client of the cluster that the settings name.
pub async fn connect(settings: &Settings, options: Options) -> Result<Client, Failure> {
    let tls = crate::rpc::tls::client_tls(&settings.tls)?;
    Ok(Client::connect(&settings.discovery.addresses, tls, options).await?)
}
