//! Key and trust stores that cannot be used are told of in one clear line that names the file.

use crate::rig::{Authorities, pem, validity};
use embergrid::config::TlsSettings;
use embergrid::rpc::certificates::Validity;
use embergrid::rpc::tls::node_tls;

/// What the settings come to.
fn refusal(settings: &TlsSettings) -> String {
    node_tls(settings)
        .err()
        .expect("the settings are refused")
        .to_string()
}

#[test]
fn good_files_are_taken() {
    let authorities = Authorities::new("good");
    assert!(
        node_tls(&authorities.node("node"))
            .expect("good files")
            .is_some()
    );
    let off = TlsSettings {
        enabled: false,
        ..TlsSettings::default()
    };
    assert!(node_tls(&off).expect("nothing to read").is_none());
}

#[test]
fn half_a_section_is_an_error_and_never_plain_text() {
    let authorities = Authorities::new("half");
    let whole = authorities.node("node");
    let half = TlsSettings {
        trust_store: None,
        ..whole.clone()
    };
    assert!(refusal(&half).contains("trust-store-file-path"));
    let half = TlsSettings {
        key_store: None,
        ..whole
    };
    assert!(refusal(&half).contains("key-store-file-path"));
}

#[test]
fn bad_files_are_named() {
    let authorities = Authorities::new("bad");
    let good = authorities.node("node");
    let identity = authorities
        .authority
        .node("node", &[], validity())
        .expect("a certificate");
    let other = authorities
        .authority
        .node("other", &[], validity())
        .expect("a certificate");
    let client = authorities
        .authority
        .client("client", validity())
        .expect("a certificate");
    let day = time::Duration::days(1);
    let today = validity();
    let past = Validity {
        not_before: today.not_before - day * 3,
        not_after: today.not_before - day,
    };
    let expired = authorities
        .authority
        .node("node", &[], past)
        .expect("a certificate");
    let future = Validity {
        not_before: today.not_after,
        not_after: today.not_after + day,
    };
    let early = authorities
        .authority
        .node("node", &[], future)
        .expect("a certificate");
    let cases = [
        ("empty.pem", String::new(), "is empty"),
        (
            "noise.pem",
            "no pem at all".to_owned(),
            "neither JKS nor PKCS12 nor PEM",
        ),
        (
            "mismatch.pem",
            format!("{}{}", other.key_pem, identity.certificate_pem),
            "does not belong",
        ),
        (
            "no-key.pem",
            identity.certificate_pem.clone(),
            "no private key",
        ),
        (
            "no-certificate.pem",
            identity.key_pem.clone(),
            "no certificate",
        ),
        (
            "client.pem",
            client.key_store_pem(),
            "not the certificate of a node",
        ),
        ("expired.pem", expired.key_store_pem(), "expired"),
        ("early.pem", early.key_store_pem(), "not valid before"),
    ];
    for (name, text, what) in cases {
        let path = authorities.write(name, &text);
        let settings = TlsSettings {
            key_store: Some(pem(path)),
            ..good.clone()
        };
        let told = refusal(&settings);
        assert!(told.contains(name) && told.contains(what), "{name}: {told}");
    }
    let missing = TlsSettings {
        trust_store: Some(pem("/no/such/file.pem".into())),
        ..good.clone()
    };
    assert!(refusal(&missing).contains("/no/such/file.pem: cannot be read"));
    let foreign = Authorities::new("foreign");
    let settings = TlsSettings {
        trust_store: foreign.node("node").trust_store,
        ..good
    };
    assert!(refusal(&settings).contains("no node would accept"));
}
