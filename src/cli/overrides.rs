//! Flags that stand in for settings, alike for every command that reads a settings file as a node
//! does.

use super::connection::tls_flags;
use clap::Args;
use std::path::PathBuf;

/// Settings that are given as flags.
#[derive(Debug, Args)]
pub struct Overrides {
    /// File with the node's private key and its certificate: PEM, or .p12 or .jks
    #[arg(long, value_name = "FILE", env = "EMBERGRID_KEY")]
    key: Option<PathBuf>,
    /// File with the authorities of nodes and clients: PEM, or .p12 or .jks
    #[arg(long, value_name = "FILE", env = "EMBERGRID_TRUST")]
    trust: Option<PathBuf>,
    /// Any other setting, as section.name=value; repeatable
    #[arg(long = "set", value_name = "SETTING", value_parser = assignment)]
    others: Vec<(String, String)>,
}

impl Overrides {
    /// The settings and their values.
    pub fn flags(&self) -> Vec<(String, String)> {
        let mut flags = tls_flags(self.key.as_ref(), self.trust.as_ref());
        flags.extend(self.others.iter().cloned());
        flags
    }
}

/// A setting and its value, as `--set` takes them.
fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as section.name=value".to_owned())
}
