//! `[tls]`: this node's certificate and whom it trusts. The files are named here and looked at
//! from outside (there, readable, of the right form); what they say is read by `rpc`.

use super::addresses::{AddressList, is_loopback};
use super::given::Reader;
use super::problem::Origin;
use std::path::{Path, PathBuf};

/// The largest file with keys or certificates, in bytes.
const STORE_BYTES_MAX: u64 = 1 << 20;

/// The most names in `peer-names`.
const PEER_NAMES_MAX: usize = 64;

/// The form of a file with keys or certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreType {
    /// A Java key store. Named here to be refused: not in this version.
    #[default]
    Jks,
    /// PKCS #12. Named here to be refused: not in this version.
    Pkcs12,
    /// PEM blocks. A key store holds the private key and the chain, leaf first, in one file.
    Pem,
}

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsProtocol {
    /// 1.2 and 1.3.
    #[default]
    Any,
    /// 1.2 only.
    V12,
    /// 1.3 only.
    V13,
}

/// A file with keys or certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where it is; a path of a settings file is relative to that file.
    pub path: PathBuf,
    /// Its form; always [`StoreType::Pem`] once the settings are loaded.
    pub form: StoreType,
}

/// The section `[tls]`. Where `enabled` is true, both stores are present once it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// False is allowed on loopback only.
    pub enabled: bool,
    /// The private key and the chain of this node.
    pub key_store: Option<Store>,
    /// The authorities of nodes.
    pub trust_store: Option<Store>,
    /// The authorities of clients; absent: those of nodes.
    pub client_trust_store: Option<Store>,
    /// Which versions of TLS are spoken.
    pub protocol: TlsProtocol,
    /// The names one of which a peer's certificate must carry besides that of a node; empty:
    /// no further name is asked for.
    pub peer_names: Vec<String>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            key_store: None,
            trust_store: None,
            client_trust_store: None,
            protocol: TlsProtocol::default(),
            peer_names: Vec::new(),
        }
    }
}

const MAKE_ONE: &str = "name the file, made by `embergrid certs` for a first cluster; on loopback \
                        alone, `enabled = false` does without";

impl TlsSettings {
    /// Reads the section.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        addresses: &AddressList,
        local_address: Option<&str>,
    ) -> Self {
        let mut settings = Self::default();
        let given = reader.boolean("enabled");
        settings.enabled = given.unwrap_or(true);
        settings.key_store = read_store(reader, "key-store", true);
        settings.trust_store = read_store(reader, "trust-store", false);
        settings.client_trust_store = read_store(reader, "client-trust-store", false);
        if settings.enabled {
            for (name, what) in [
                (
                    "key-store-file-path",
                    "TLS is on, and this node has no key and certificate",
                ),
                ("trust-store-file-path", "TLS is on, and nobody is trusted"),
            ] {
                if !reader.has(name) {
                    reader.problem(name, what, MAKE_ONE);
                }
            }
        } else {
            let local = local_address.is_none_or(is_loopback);
            if !addresses.loopback_only() || !local {
                reader.problem(
                    "enabled",
                    "plain text is allowed on loopback only, and the address list or \
                     local-address leaves it",
                    "turn TLS on, or use localhost throughout",
                );
            }
            if settings.key_store.is_some() || settings.trust_store.is_some() {
                reader.warning(
                    "enabled",
                    "the key and trust stores are not used while TLS is off",
                    "take out `enabled = false` to use them",
                );
            }
        }
        let protocols = [
            ("TLS", TlsProtocol::Any),
            ("TLSv1.2", TlsProtocol::V12),
            ("TLSv1.3", TlsProtocol::V13),
        ];
        settings.protocol = reader.choice("protocol", &protocols).unwrap_or_default();
        // Both name the one way in which certificates are handled here.
        let _accepted = reader.choice("key-algorithm", &[("SunX509", ()), ("PKIX", ())]);
        settings.peer_names = read_peer_names(reader);
        settings
    }
}

fn read_peer_names(reader: &mut Reader<'_>) -> Vec<String> {
    let Some(names) = reader.list("peer-names") else {
        return Vec::new();
    };
    if names.len() > PEER_NAMES_MAX {
        let cure = format!("{PEER_NAMES_MAX} names at most");
        reader.problem("peer-names", "too many names", cure);
        return Vec::new();
    }
    let mut read = Vec::with_capacity(names.len());
    for (name, origin) in names {
        match super::addresses::parse_host(&name) {
            Ok(name) => read.push(name),
            Err((what, cure)) => reader.problem_at("peer-names", Some(origin), what, cure),
        }
    }
    read
}

/// Reads the settings of one store, named by their common beginning.
fn read_store(reader: &mut Reader<'_>, store: &str, with_key: bool) -> Option<Store> {
    let name = |end: &str| format!("{store}-{end}");
    let (path_name, type_name) = (name("file-path"), name("type"));
    let types = [
        ("JKS", StoreType::Jks),
        ("PKCS12", StoreType::Pkcs12),
        ("PEM", StoreType::Pem),
    ];
    let form = reader.choice(&type_name, &types);
    for password in [name("password"), name("password-file")] {
        if reader.has(&password) {
            reader.not_yet(
                &password,
                "stores with a password are",
                "use a PEM file without one",
            );
        }
    }
    let Some(path) = reader.text(&path_name, 1..=4096) else {
        if !reader.has(&path_name) && reader.has(&type_name) {
            reader.problem(&type_name, format!("{path_name} is missing"), MAKE_ONE);
        }
        return None;
    };
    if form == Some(StoreType::Pem) {
        let path = resolve(&reader.origin(&path_name), Path::new(&path));
        if let Err(what) = look_at(&path, with_key) {
            let what = format!("{}: {what}", path.display());
            reader.problem(&path_name, what, "name a PEM file that this node may read");
        }
        return Some(Store {
            path,
            form: StoreType::Pem,
        });
    }
    if form.is_some() || !reader.has(&type_name) {
        let default = if form.is_none() { " (the default)" } else { "" };
        let what = format!(
            "key stores of type {:?}{default} are",
            form.unwrap_or_default()
        );
        let cure = format!("use a PEM file and write {type_name} = \"PEM\"");
        reader.not_yet(&type_name, &what, &cure);
    }
    None
}

/// Files named in a settings file are looked for beside it.
fn resolve(origin: &Origin, path: &Path) -> PathBuf {
    match origin {
        Origin::File { path: settings, .. } => settings
            .parent()
            .map_or_else(|| path.to_path_buf(), |folder| folder.join(path)),
        _ => path.to_path_buf(),
    }
}

/// What can be said of a store without understanding it. Never shows what is in the file.
fn look_at(path: &Path, with_key: bool) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err("not a file".to_owned());
    }
    if about.len() == 0 || about.len() > STORE_BYTES_MAX {
        return Err(format!("empty, or of more than {STORE_BYTES_MAX} bytes"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        return Err("a Java key store, which is not in this version".to_owned());
    }
    if bytes.first() == Some(&0x30) {
        return Err("PKCS #12 or another binary form, which is not in this version".to_owned());
    }
    let text = String::from_utf8_lossy(&bytes);
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err("no PEM certificate in it".to_owned());
    }
    if with_key && text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err("a key with a password, which is not in this version".to_owned());
    }
    let has_key = text.contains("PRIVATE KEY-----");
    if with_key && !has_key {
        return Err("no private key in it; key and chain stand in one file".to_owned());
    }
    Ok(())
}
