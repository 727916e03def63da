//! A development authority and the certificates that it signs: EC P-256, PEM. For a first
//! cluster, the demo and the tests. Reading certificates for connections is not here, nor is
//! anything that a production authority needs (revocation, requests, hardware keys).

use crate::error::{Error, ErrorKind, Result};
use crate::types::node::NODE_CERTIFICATE_NAME;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// The longest a development certificate may be good for, in days: ten years.
pub const DAYS_MAX: u32 = 3650;

/// The hosts that every node certificate is good for besides those that were asked for.
pub const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How far `not before` lies in the past, so that a peer whose clock is a little behind does not
/// refuse a certificate that was just made.
const CLOCK_SLACK: Duration = Duration::hours(1);

/// The span of time in which a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From here on.
    pub not_before: OffsetDateTime,
    /// Until here.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// From now on for so many days, 1 to [`DAYS_MAX`].
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT where the number of days is out of bounds.
    pub fn days(days: u32) -> Result<Self> {
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(Error::invalid(format!(
                "certificates are good for 1 to {DAYS_MAX} days, not {days}"
            )));
        }
        let now = OffsetDateTime::now_utc();
        Ok(Self {
            not_before: now - CLOCK_SLACK,
            not_after: now + Duration::days(days.into()),
        })
    }
}

/// A certificate with its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key. Never print it.
    pub key_pem: String,
}

impl Identity {
    /// Key and certificate in one text, as `key-store-file-path` wants them.
    pub fn key_store_pem(&self) -> String {
        format!("{}{}", self.key_pem, self.certificate_pem)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// Signs certificates that one cluster trusts.
#[derive(Debug)]
pub struct Authority {
    identity: Identity,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority under this name.
    ///
    /// # Errors
    ///
    /// INTERNAL where the key or the certificate cannot be made.
    pub fn new(name: &str, validity: Validity) -> Result<Self> {
        let key = new_key()?;
        let mut parameters = parameters(name, validity);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key).map_err(refused)?;
        let identity = Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        };
        Ok(Self {
            identity,
            issuer: Issuer::new(parameters, key),
        })
    }

    /// An authority that was made before.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT where either text cannot be read, or the key is not that of the
    /// certificate.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self> {
        let unreadable = |what: &'static str| {
            move |error: rcgen::Error| {
                Error::invalid(format!("the authority's {what} cannot be read: {error}"))
            }
        };
        let key = KeyPair::from_pem(key_pem).map_err(unreadable("key"))?;
        check_pair(certificate_pem, &key)?;
        let issuer =
            Issuer::from_ca_cert_pem(certificate_pem, key).map_err(unreadable("certificate"))?;
        let identity = Identity {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
        };
        Ok(Self { identity, issuer })
    }

    /// The authority's own certificate and key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A certificate for a node: it may accept and open links, carries the name of a node, and
    /// is good for this machine's loopback addresses and for `hosts` (names or IP addresses).
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT where a host is neither a name nor an address.
    pub fn node(&self, name: &str, hosts: &[String], validity: Validity) -> Result<Identity> {
        let mut names: Vec<String> = vec![NODE_CERTIFICATE_NAME.to_owned()];
        for host in LOOPBACK_HOSTS
            .iter()
            .copied()
            .chain(hosts.iter().map(String::as_str))
        {
            let host = checked_host(host)?;
            if !names.contains(&host) {
                names.push(host);
            }
        }
        let mut parameters = parameters(name, validity);
        parameters.subject_alt_names = CertificateParams::new(names)
            .map_err(|error| Error::invalid(format!("a host cannot be used: {error}")))?
            .subject_alt_names;
        self.sign(
            parameters,
            &[
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        )
    }

    /// A certificate for a client: it opens connections and is never taken for a node.
    ///
    /// # Errors
    ///
    /// INTERNAL where the key or the certificate cannot be made.
    pub fn client(&self, name: &str, validity: Validity) -> Result<Identity> {
        self.sign(
            parameters(name, validity),
            &[ExtendedKeyUsagePurpose::ClientAuth],
        )
    }

    fn sign(
        &self,
        mut parameters: CertificateParams,
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Result<Identity> {
        let key = new_key()?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = usages.to_vec();
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(refused)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// What to write into one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The common name of the authority, where a new one is made.
    pub authority: String,
    /// Nodes, each with the hosts its certificate is good for besides loopback.
    pub nodes: Vec<(String, Vec<String>)>,
    /// Clients.
    pub clients: Vec<String>,
    /// How long all of them are good.
    pub days: u32,
}

/// The file of the authority's certificate: everybody's trust store.
pub const AUTHORITY_FILE: &str = "authority.pem";
/// The file of the authority's key: not needed by nodes or clients.
pub const AUTHORITY_KEY_FILE: &str = "authority.key.pem";

/// Writes into `folder`, for each name, `NAME.pem` (the certificate) and `NAME.key.pem` (the key
/// and the certificate: the key store), signed by the authority in the folder, which is made
/// where there is none. Answers which files were written.
///
/// # Errors
///
/// INVALID_ARGUMENT for a bad name, host or number of days; ALREADY_EXISTS where a file is
/// there already: nothing is ever overwritten; INTERNAL where the folder cannot be written to.
pub fn write_all(folder: &Path, wanted: &Wanted) -> Result<Vec<PathBuf>> {
    let validity = Validity::days(wanted.days)?;
    let names = wanted
        .nodes
        .iter()
        .map(|(name, _)| name)
        .chain(&wanted.clients);
    for name in names.clone() {
        check_file_name(name)?;
    }
    for name in names {
        for file in [format!("{name}.pem"), format!("{name}.key.pem")] {
            refuse_existing(&folder.join(file))?;
        }
    }
    std::fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
    let mut written = Vec::new();
    let authority = authority_in(folder, wanted, validity, &mut written)?;
    for (name, hosts) in &wanted.nodes {
        write_identity(
            folder,
            name,
            &authority.node(name, hosts, validity)?,
            &mut written,
        )?;
    }
    for name in &wanted.clients {
        write_identity(
            folder,
            name,
            &authority.client(name, validity)?,
            &mut written,
        )?;
    }
    Ok(written)
}

fn authority_in(
    folder: &Path,
    wanted: &Wanted,
    validity: Validity,
    written: &mut Vec<PathBuf>,
) -> Result<Authority> {
    let (certificate, key) = (folder.join(AUTHORITY_FILE), folder.join(AUTHORITY_KEY_FILE));
    if certificate.exists() || key.exists() {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| io_error(path, &e));
        return Authority::from_pem(&read(&certificate)?, &read(&key)?);
    }
    let authority = Authority::new(&wanted.authority, validity)?;
    write_new(&key, &authority.identity.key_pem, true)?;
    written.push(key);
    write_new(&certificate, &authority.identity.certificate_pem, false)?;
    written.push(certificate);
    Ok(authority)
}

fn write_identity(
    folder: &Path,
    name: &str,
    identity: &Identity,
    written: &mut Vec<PathBuf>,
) -> Result<()> {
    let certificate = folder.join(format!("{name}.pem"));
    write_new(&certificate, &identity.certificate_pem, false)?;
    written.push(certificate);
    let key = folder.join(format!("{name}.key.pem"));
    write_new(&key, &identity.key_store_pem(), true)?;
    written.push(key);
    Ok(())
}

/// Writes a file that must not exist yet; a secret one is for its owner only from the start.
fn write_new(path: &Path, text: &str, secret: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    let mut file = options.open(path).map_err(|error| io_error(path, &error))?;
    file.write_all(text.as_bytes())
        .map_err(|error| io_error(path, &error))
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

fn checked_host(host: &str) -> Result<String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    let named = (1..=253).contains(&host.len())
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        });
    if named {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(Error::invalid(format!(
            "`{host}` is neither a host name nor an IP address"
        )))
    }
}

fn parameters(name: &str, validity: Validity) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    parameters.distinguished_name = subject;
    parameters.not_before = validity.not_before;
    parameters.not_after = validity.not_after;
    parameters
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(refused)
}

fn check_pair(certificate_pem: &str, key: &KeyPair) -> Result<()> {
    let bad = || Error::invalid("the authority's certificate cannot be read");
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).map_err(|_| bad())?;
    let certificate = pem.parse_x509().map_err(|_| bad())?;
    if certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw() {
        Ok(())
    } else {
        Err(Error::invalid(
            "the authority's key does not belong to its certificate",
        ))
    }
}

fn refused(error: rcgen::Error) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("a certificate could not be made: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{GeneralName, ParsedExtension};

    fn validity() -> Validity {
        Validity::days(2).expect("two days are fine")
    }

    fn names_and_usages(pem: &str) -> (Vec<String>, bool, bool) {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
        let certificate = pem.parse_x509().expect("a certificate");
        let (mut names, mut server, mut client) = (Vec::new(), false, false);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(found) => {
                    for name in &found.general_names {
                        match name {
                            GeneralName::DNSName(name) => names.push((*name).to_owned()),
                            GeneralName::IPAddress(bytes) => names.push(format!("{bytes:?}")),
                            other => panic!("an unexpected name: {other:?}"),
                        }
                    }
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    (server, client) = (usage.server_auth, usage.client_auth);
                }
                _ => {}
            }
        }
        (names, server, client)
    }

    #[test]
    fn node_certificates_carry_the_name_of_a_node_and_every_host_once() {
        let authority = Authority::new("test", validity()).expect("an authority");
        let hosts = [
            "One.Example.org".to_owned(),
            "localhost".to_owned(),
            "10.0.0.7".to_owned(),
        ];
        let node = authority.node("one", &hosts, validity()).expect("a node");
        let (names, server, client) = names_and_usages(&node.certificate_pem);
        assert_eq!(
            names,
            [
                NODE_CERTIFICATE_NAME,
                "localhost",
                "[127, 0, 0, 1]",
                "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]",
                "one.example.org",
                "[10, 0, 0, 7]",
            ]
        );
        assert!(server && client);
    }

    #[test]
    fn client_certificates_open_connections_only() {
        let authority = Authority::new("test", validity()).expect("an authority");
        let client = authority.client("shop", validity()).expect("a client");
        assert_eq!(
            names_and_usages(&client.certificate_pem),
            (Vec::new(), false, true)
        );
    }

    #[test]
    fn an_authority_read_back_signs_what_the_first_one_vouches_for() {
        let first = Authority::new("test", validity()).expect("an authority");
        let identity = first.identity();
        let again = Authority::from_pem(&identity.certificate_pem, &identity.key_pem)
            .expect("its own files");
        let node = again.node("one", &[], validity()).expect("a node");
        let (_, authority) =
            x509_parser::pem::parse_x509_pem(identity.certificate_pem.as_bytes()).expect("PEM");
        let authority = authority.parse_x509().expect("a certificate");
        let (_, node) =
            x509_parser::pem::parse_x509_pem(node.certificate_pem.as_bytes()).expect("PEM");
        let node = node.parse_x509().expect("a certificate");
        assert_eq!(node.issuer(), authority.subject());
        assert!(authority.is_ca());

        let other = Authority::new("other", validity()).expect("an authority");
        let error = Authority::from_pem(&identity.certificate_pem, &other.identity().key_pem)
            .expect_err("the key of another");
        assert!(error.context.contains("does not belong"), "{error}");
    }

    #[test]
    fn rustls_accepts_what_is_written_and_files_are_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wanted = Wanted {
            authority: "test".to_owned(),
            nodes: vec![("one".to_owned(), vec!["10.0.0.7".to_owned()])],
            clients: vec!["shop".to_owned()],
            days: 30,
        };
        let written = write_all(folder.path(), &wanted).expect("an empty folder");
        assert_eq!(written.len(), 6);
        for path in &written {
            assert_mode(path);
        }
        let error = write_all(folder.path(), &wanted).expect_err("all of it exists");
        assert_eq!(error.kind, ErrorKind::AlreadyExists);

        wanted.nodes = vec![("two".to_owned(), Vec::new())];
        wanted.clients = Vec::new();
        let written = write_all(folder.path(), &wanted).expect("new names, same authority");
        assert_eq!(written.len(), 2);
        check_with_rustls(folder.path(), "two");
    }

    fn assert_mode(path: &Path) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path)
                .expect("it was written")
                .permissions()
                .mode();
            let secret = path.to_string_lossy().ends_with(".key.pem");
            assert!(
                !secret || mode & 0o077 == 0,
                "{} has mode {mode:o}",
                path.display()
            );
        }
    }

    fn check_with_rustls(folder: &Path, name: &str) {
        use rustls_pki_types::pem::PemObject;
        use rustls_pki_types::{CertificateDer, PrivateKeyDer};
        use std::sync::Arc;
        let store = folder.join(format!("{name}.key.pem"));
        let key = PrivateKeyDer::from_pem_file(&store).expect("a key");
        let chain: Vec<_> = CertificateDer::pem_file_iter(&store)
            .expect("a file")
            .collect::<Result<_, _>>()
            .expect("certificates");
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(folder.join(AUTHORITY_FILE)).expect("authority"))
            .expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .build()
        .expect("a verifier");
        verifier
            .verify_client_cert(&chain[0], &chain[1..], rustls_pki_types::UnixTime::now())
            .expect("a certificate that the authority vouches for");
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("key and certificate belong together");
    }

    #[test]
    fn bad_names_hosts_and_days_are_refused() {
        let authority = Authority::new("test", validity()).expect("an authority");
        for host in ["", "a b", "a..b", "-\u{e9}", "http://x"] {
            let error = authority.node("one", &[host.to_owned()], validity());
            assert!(error.is_err(), "{host:?}");
        }
        for name in ["", "../x", "a/b", ".x", "authority", "a b"] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
        assert!(Validity::days(0).is_err());
        assert!(Validity::days(DAYS_MAX + 1).is_err());
    }

    #[test]
    fn a_key_is_not_shown() {
        let authority = Authority::new("test", validity()).expect("an authority");
        assert!(!format!("{authority:?}").contains("PRIVATE KEY"));
    }
}
