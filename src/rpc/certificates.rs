//! A development authority and the certificates that it signs: EC P-256. For a first
//! cluster, the demo and the tests. Reading certificates for connections is not here, nor is
//! anything that a production authority needs (revocation, requests, hardware keys).

pub use super::certificate_files::{AUTHORITY_FILE, AUTHORITY_KEY_FILE, Wanted, write_all};
use crate::error::{Error, ErrorKind, Result};
use crate::types::node::NODE_CERTIFICATE_NAME;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
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

    /// When the authority's own certificate ends.
    fn ends(&self) -> Option<OffsetDateTime> {
        let pem = self.identity.certificate_pem.as_bytes();
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let seconds = i64::try_from(super::stores::expires_at(&der)?).ok()?;
        OffsetDateTime::from_unix_timestamp(seconds).ok()
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
        // Some programs refuse a certificate that outlives its authority.
        if let Some(end) = self.ends() {
            parameters.not_after = parameters.not_after.min(end);
        }
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(refused)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
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
    fn bad_names_hosts_and_days_are_refused() {
        let authority = Authority::new("test", validity()).expect("an authority");
        for host in ["", "a b", "a..b", "-\u{e9}", "http://x"] {
            let error = authority.node("one", &[host.to_owned()], validity());
            assert!(error.is_err(), "{host:?}");
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
