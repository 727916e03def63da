//! Writes an authority and what it signs into files: as PEM, and as the key and trust stores that
//! Java programs and their settings ask for. A file that exists is never overwritten. What the
//! certificates say stands in `certificates`.

use super::certificates::{Authority, DAYS_MAX, Identity, Validity};
use super::stores::{jks, pkcs12};
use crate::config::StoreType;
use crate::error::{Error, ErrorKind, Result};
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// The file of the authority's certificate: everybody's trust store.
pub const AUTHORITY_FILE: &str = "authority.pem";
/// The file of the authority's key: not needed by nodes or clients.
pub const AUTHORITY_KEY_FILE: &str = "authority.key.pem";

/// The shortest password of a store: keytool opens none with a shorter one.
pub const PASSWORD_BYTES_MIN: usize = 6;

/// What to write into one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The common name of the authority, where a new one is made.
    pub authority: String,
    /// Nodes, each with the hosts its certificate is good for besides loopback.
    pub nodes: Vec<(String, Vec<String>)>,
    /// Clients.
    pub clients: Vec<String>,
    /// How long they are good. An authority that is made for the others is good for ten years,
    /// and nothing outlives the authority that signed it.
    pub days: u32,
}

/// In which forms key and trust stores are written, and the password of those that need one.
#[derive(Clone, Debug)]
pub struct Forms {
    /// One or several of them.
    pub types: Vec<StoreType>,
    /// For PKCS #12 and JKS.
    pub password: Option<SecretString>,
}

impl Default for Forms {
    fn default() -> Self {
        Self {
            types: vec![StoreType::Pem],
            password: None,
        }
    }
}

/// As [`write_stores`], key stores as PEM.
///
/// # Errors
///
/// As [`write_stores`].
pub fn write_all(folder: &Path, wanted: &Wanted) -> Result<Vec<PathBuf>> {
    write_stores(folder, wanted, &Forms::default())
}

/// Writes into `folder`, for each name, `NAME.pem` (the certificate) and its key store (the key
/// and the certificate) in each form: `NAME.key.pem`, `NAME.p12`, `NAME.jks`. All are signed by
/// the authority in the folder, which is made where there is none, with its trust store in each
/// form: `authority.pem`, `authority.p12`, `authority.jks`. Answers which files were written.
///
/// # Errors
///
/// INVALID_ARGUMENT for a bad name, host, password or number of days; ALREADY_EXISTS where a file
/// of a node or a client is there already: nothing is ever overwritten; INTERNAL where the folder
/// cannot be written to.
pub fn write_stores(folder: &Path, wanted: &Wanted, forms: &Forms) -> Result<Vec<PathBuf>> {
    let validity = Validity::days(wanted.days)?;
    let password = forms.checked_password()?;
    let nodes = wanted.nodes.iter().map(|(name, _)| name);
    for name in nodes.chain(&wanted.clients) {
        check_file_name(name)?;
        refuse_existing(&folder.join(format!("{name}.pem")))?;
        for form in &forms.types {
            refuse_existing(&folder.join(key_store_file(name, *form)))?;
        }
    }
    std::fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
    let mut files = Files {
        folder,
        forms,
        password,
        written: Vec::new(),
    };
    // One that is made by the way is to sign later ones too, however short these are good.
    let by_the_way = !wanted.nodes.is_empty() || !wanted.clients.is_empty();
    let authority_days = if by_the_way { DAYS_MAX } else { wanted.days };
    let authority = files.authority(&wanted.authority, Validity::days(authority_days)?)?;
    for (name, hosts) in &wanted.nodes {
        files.identity(name, &authority.node(name, hosts, validity)?, &authority)?;
    }
    for name in &wanted.clients {
        files.identity(name, &authority.client(name, validity)?, &authority)?;
    }
    Ok(files.written)
}

/// The file of a key store.
pub fn key_store_file(name: &str, form: StoreType) -> String {
    match form {
        StoreType::Pem => format!("{name}.key.pem"),
        StoreType::Pkcs12 => format!("{name}.p12"),
        StoreType::Jks => format!("{name}.jks"),
    }
}

impl Forms {
    /// The password where one is needed; empty where none is.
    fn checked_password(&self) -> Result<&str> {
        let password = self.password.as_ref().map(ExposeSecret::expose_secret);
        if self.types.iter().all(|form| *form == StoreType::Pem) {
            return Ok("");
        }
        let Some(password) = password else {
            return Err(Error::invalid("stores as PKCS12 and JKS need a password"));
        };
        let plain = password.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if plain && (PASSWORD_BYTES_MIN..=1024).contains(&password.len()) {
            return Ok(password);
        }
        Err(Error::invalid(format!(
            "the password of a store has {PASSWORD_BYTES_MIN} to 1024 letters, digits and signs of ASCII"
        )))
    }
}

/// The files of one folder as they are written.
struct Files<'a> {
    folder: &'a Path,
    forms: &'a Forms,
    password: &'a str,
    written: Vec<PathBuf>,
}

impl Files<'_> {
    /// The authority of the folder, with its trust stores, as far as they are not there yet.
    fn authority(&mut self, name: &str, validity: Validity) -> Result<Authority> {
        let certificate = self.folder.join(AUTHORITY_FILE);
        let key = self.folder.join(AUTHORITY_KEY_FILE);
        let authority = if certificate.exists() || key.exists() {
            self.refuse_half(&certificate, &key)?;
            let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| io_error(path, &e));
            Authority::from_pem(&read(&certificate)?, &read(&key)?)?
        } else {
            let authority = Authority::new(name, validity)?;
            let identity = authority.identity();
            self.write(AUTHORITY_KEY_FILE, identity.key_pem.as_bytes(), true)?;
            self.write(AUTHORITY_FILE, identity.certificate_pem.as_bytes(), false)?;
            authority
        };
        let der = certificate_der(authority.identity())?;
        for form in &self.forms.types {
            let (file, content) = match form {
                StoreType::Pem => continue,
                StoreType::Pkcs12 => {
                    let written = pkcs12::write_authority("authority", &der, self.password);
                    ("authority.p12", written.map_err(unusable)?)
                }
                StoreType::Jks => {
                    let entry = jks::Entry::Authority(der.to_vec());
                    let entries = [("authority", entry)];
                    ("authority.jks", jks::write(&entries, self.password, now()))
                }
            };
            if !self.folder.join(file).exists() {
                self.write(file, &content, false)?;
            }
        }
        Ok(authority)
    }

    /// Half of an authority signs nothing, and must not be taken for none.
    fn refuse_half(&self, certificate: &Path, key: &Path) -> Result<()> {
        let (missing, there) = match (certificate.exists(), key.exists()) {
            (true, false) => (key, certificate),
            (false, true) => (certificate, key),
            _ => return Ok(()),
        };
        Err(Error::invalid(format!(
            "{} is missing beside {}: bring it back, or name another folder for a new authority",
            missing.display(),
            there.display()
        )))
    }

    /// A certificate and its key store in each form.
    fn identity(&mut self, name: &str, identity: &Identity, authority: &Authority) -> Result<()> {
        let certificate = identity.certificate_pem.as_bytes();
        self.write(&format!("{name}.pem"), certificate, false)?;
        for form in &self.forms.types {
            let content = match form {
                StoreType::Pem => identity.key_store_pem().into_bytes(),
                StoreType::Pkcs12 | StoreType::Jks => {
                    self.java_store(name, *form, identity, authority)?
                }
            };
            self.write(&key_store_file(name, *form), &content, true)?;
        }
        Ok(())
    }

    /// A store with the key and the chain up to the authority, as Java wants it.
    fn java_store(
        &self,
        name: &str,
        form: StoreType,
        identity: &Identity,
        authority: &Authority,
    ) -> Result<Vec<u8>> {
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(unusable)?;
        let key = key.secret_der();
        let chain = [
            certificate_der(identity)?,
            certificate_der(authority.identity())?,
        ];
        if form == StoreType::Pkcs12 {
            let chain = chain.each_ref().map(AsRef::as_ref);
            return pkcs12::write_key(name, key, &chain, self.password).map_err(unusable);
        }
        let mut salt = [0; 20];
        let random = aws_lc_rs::default_provider().secure_random;
        random
            .fill(&mut salt)
            .map_err(|_| unusable("no random bytes to be had"))?;
        let entry = jks::Entry::Key {
            sealed: jks::seal(key, self.password, salt),
            chain: chain.iter().map(|one| one.to_vec()).collect(),
        };
        // Java knows aliases in lower case only.
        let alias = name.to_ascii_lowercase();
        Ok(jks::write(&[(alias.as_str(), entry)], self.password, now()))
    }

    /// Writes a file that must not exist yet; a secret one is for its owner only from the start.
    fn write(&mut self, name: &str, content: &[u8], secret: bool) -> Result<()> {
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(if secret { 0o600 } else { 0o644 });
        }
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(content));
        written.map_err(|error| io_error(&path, &error))?;
        self.written.push(path);
        Ok(())
    }
}

fn certificate_der(identity: &Identity) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).map_err(unusable)
}

fn unusable(what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("a store could not be made: {what}"),
    )
}

/// In milliseconds since the Unix epoch.
fn now() -> u64 {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    u64::try_from(now).unwrap_or(0)
}

fn refuse_existing(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(exists(path)),
        Err(_) => Ok(()),
    }
}

fn exists(path: &Path) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "{} exists and is not overwritten; choose another folder or name",
            path.display()
        ),
    )
}

fn io_error(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return exists(path);
    }
    Error::new(ErrorKind::Internal, format!("{}: {error}", path.display()))
}

/// Names become file names: letters, digits, dots, dashes and underscores.
fn check_file_name(name: &str) -> Result<()> {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let reserved = ["authority", "authority.key"].contains(&name);
    if !(1..=64).contains(&name.len()) || !plain || name.starts_with('.') || reserved {
        return Err(Error::invalid(format!(
            "`{name}` cannot name a certificate: use 1 to 64 letters, digits, dots, dashes and \
             underscores, not a dot first, and not `authority`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Password, Store, TlsSettings};
    use crate::rpc::tls::{client_tls, node_tls};

    fn wanted() -> Wanted {
        Wanted {
            authority: "test".to_owned(),
            nodes: vec![("one".to_owned(), vec!["10.0.0.7".to_owned()])],
            clients: vec!["shop".to_owned()],
            days: 30,
        }
    }

    fn assert_mode(path: &Path) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let about = std::fs::metadata(path).expect("it was written");
            let mode = about.permissions().mode();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let secret = !name.ends_with(".pem") && !name.starts_with("authority")
                || name.ends_with(".key.pem");
            assert!(!secret || mode & 0o077 == 0, "{name} has mode {mode:o}");
        }
    }

    #[test]
    fn every_form_is_taken_by_nodes_and_clients() {
        let folder = tempfile::tempdir().expect("a folder");
        let forms = Forms {
            types: vec![StoreType::Pem, StoreType::Pkcs12, StoreType::Jks],
            password: Some("changeit".to_owned().into()),
        };
        let written = write_stores(folder.path(), &wanted(), &forms).expect("an empty folder");
        assert_eq!(written.len(), 12);
        written.iter().for_each(|path| assert_mode(path));
        let store = |file: &str, form| {
            let password = Password::given("changeit");
            Some(Store::new(folder.path().join(file), form).with_password(password))
        };
        for (form, trust) in [
            (StoreType::Pem, "authority.pem"),
            (StoreType::Pkcs12, "authority.p12"),
            (StoreType::Jks, "authority.jks"),
        ] {
            let tls = |name| TlsSettings {
                key_store: store(&key_store_file(name, form), form),
                trust_store: store(trust, form),
                ..TlsSettings::default()
            };
            assert!(node_tls(&tls("one")).expect("a node").is_some());
            assert!(client_tls(&tls("shop")).expect("a client").is_some());
            let error = node_tls(&tls("shop")).err().expect("a client is no node");
            assert!(error.context.contains("not the certificate of a node"));
        }
    }

    #[test]
    fn files_are_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wanted = wanted();
        let written = write_all(folder.path(), &wanted).expect("an empty folder");
        assert_eq!(written.len(), 6);
        written.iter().for_each(|path| assert_mode(path));
        let error = write_all(folder.path(), &wanted).expect_err("all of it exists");
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
        wanted.nodes = vec![("two".to_owned(), Vec::new())];
        wanted.clients = Vec::new();
        let written = write_all(folder.path(), &wanted).expect("new names, same authority");
        assert_eq!(written.len(), 2);
    }

    #[test]
    fn an_authority_outlives_what_it_signs() {
        let folder = tempfile::tempdir().expect("a folder");
        let end = |file: &str| {
            let pem = std::fs::read(folder.path().join(file)).expect("it was written");
            let der = CertificateDer::from_pem_slice(&pem).expect("a certificate");
            crate::rpc::stores::expires_at(&der).expect("it ends")
        };
        let short = Wanted {
            days: 3,
            clients: Vec::new(),
            ..wanted()
        };
        write_all(folder.path(), &short).expect("an empty folder");
        assert!(end("authority.pem") > end("one.pem") + 3_000 * 86_400);
        let folder_of_short = folder.path().join("short");
        let authority = Wanted {
            nodes: Vec::new(),
            ..short.clone()
        };
        write_all(&folder_of_short, &authority).expect("an empty folder");
        let long = Wanted { days: 300, ..short };
        write_all(&folder_of_short, &long).expect("an authority is there");
        assert_eq!(end("short/one.pem"), end("short/authority.pem"));
    }

    #[test]
    fn half_an_authority_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        write_all(folder.path(), &wanted()).expect("an empty folder");
        std::fs::remove_file(folder.path().join(AUTHORITY_KEY_FILE)).expect("it is there");
        let again = Wanted {
            nodes: vec![("two".to_owned(), Vec::new())],
            clients: Vec::new(),
            ..wanted()
        };
        let error = write_all(folder.path(), &again).expect_err("half of it is gone");
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        assert!(
            error
                .context
                .contains("authority.key.pem is missing beside")
        );
        assert!(error.context.contains("another folder"));
    }

    #[test]
    fn bad_names_and_passwords_are_refused() {
        for name in ["", "../x", "a/b", ".x", "authority", "a b"] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
        for password in [None, Some("short"), Some("p\u{e4}ssword")] {
            let forms = Forms {
                types: vec![StoreType::Jks],
                password: password.map(|text| text.to_owned().into()),
            };
            let error = write_stores(Path::new("/no/such"), &wanted(), &forms);
            let error = error.expect_err("refused before anything is written");
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
            assert!(error.context.contains("password"), "{error}");
        }
    }
}
