//! Key and trust stores as openssl and keytool write them, in all three forms: they open, nodes
//! link with them, and what is wrong with one is told in one clear line.

use crate::process::embergrid;
use crate::rig::{Authorities, PATIENCE, TestNode, listeners, pem, settings, wait_until};
use embergrid::config::{Password, Settings, Store, StoreType, TlsSettings};
use embergrid::rpc::tls::{node_tls, problems};
use std::path::{Path, PathBuf};

const PASSWORD: &str = "changeit";

/// A file that `make.sh` in the same folder has made.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/stores")
        .join(name)
}

fn form(name: &str) -> StoreType {
    match name.rsplit_once('.') {
        Some((_, "jks" | "jceks")) => StoreType::Jks,
        Some((_, "p12")) => StoreType::Pkcs12,
        _ => StoreType::Pem,
    }
}

fn store(name: &str) -> Store {
    Store::new(fixture(name), form(name)).with_password(Password::given(PASSWORD))
}

fn tls(key_store: Store, trust_store: Store) -> TlsSettings {
    TlsSettings {
        key_store: Some(key_store),
        trust_store: Some(trust_store),
        ..TlsSettings::default()
    }
}

const GOOD_KEYS: [&str; 12] = [
    "openssl-rsa-pkcs1.pem",
    "openssl-ec-sec1.pem",
    "openssl-ec-pkcs8.pem",
    "openssl-ec-encrypted-aes.pem",
    "openssl-ec-encrypted-des3.pem",
    "openssl-rsa-encrypted-scrypt.pem",
    "openssl-rsa-aes.p12",
    "openssl-rsa-rc2.p12",
    "openssl-ec-des3.p12",
    "openssl-ec-aes.p12",
    "keytool-ec.p12",
    "keytool-rsa-old.p12",
];

const GOOD_TRUST: [&str; 4] = [
    "authority.pem",
    "openssl-trust.p12",
    "keytool-trust.p12",
    "keytool-trust.jks",
];

#[test]
fn every_key_store_of_openssl_and_keytool_opens() {
    let mut opened = 0;
    for name in GOOD_KEYS.into_iter().chain(["keytool-rsa.jks"]) {
        let settings = tls(store(name), store("authority.pem"));
        let made = node_tls(&settings).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(made.expect("TLS is on").certificate_expires_at > 0);
        opened += 1;
    }
    let separate = Store {
        key_password: Some(Password::given("keysecret")),
        ..store("keytool-ec-key-password.jks")
    };
    node_tls(&tls(separate, store("authority.pem"))).expect("with the password of its key");
    for name in GOOD_TRUST {
        let settings = tls(store("keytool-ec.p12"), store(name));
        node_tls(&settings).unwrap_or_else(|error| panic!("{name}: {error}"));
        opened += 1;
    }
    println!("{} stores were opened", opened + 1);
}

#[test]
fn a_trust_store_of_java_needs_no_password() {
    let unopened = Store::new(fixture("keytool-trust.jks"), StoreType::Jks);
    node_tls(&tls(store("keytool-rsa.jks"), unopened)).expect("as Java does it");
}

#[test]
fn nodes_with_stores_of_different_forms_link() {
    let (ports, list) = listeners(3);
    let stores = [
        tls(store("keytool-rsa.jks"), store("keytool-trust.jks")),
        tls(store("openssl-ec-aes.p12"), store("openssl-trust.p12")),
        tls(
            store("openssl-ec-encrypted-aes.pem"),
            store("authority.pem"),
        ),
    ];
    let nodes: Vec<TestNode> = ports
        .into_iter()
        .zip(stores)
        .map(|(port, tls)| TestNode::start(&settings(&list, tls), port).expect("it starts"))
        .collect();
    wait_until("each is linked to both others", || {
        nodes.iter().all(|node| node.handle().stats().links == 2)
    });
}

#[test]
fn the_file_is_believed_and_not_its_label() {
    let misled = Store {
        form: StoreType::Jks,
        ..store("keytool-ec.p12")
    };
    node_tls(&tls(misled, store("authority.pem"))).expect("it is read as what it is");
    let text = format!(
        "[tls]\nkey-store-file-path = {:?}\nkey-store-password = \"changeit\"\n\
         trust-store-file-path = {:?}\ntrust-store-type = \"PKCS12\"\n",
        fixture("keytool-ec.p12"),
        fixture("authority.pem"),
    );
    let settings = Settings::from_text(Path::new("embergrid.toml"), &text, [], []);
    let warnings = settings.expect("it may start").warnings;
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("PKCS12, not JKS by default"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("PEM, not PKCS12"), "{warnings:?}");
}

#[test]
fn a_password_may_stand_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "changeit\n").expect("a file");
    let key = Store::new(fixture("keytool-rsa.jks"), StoreType::Jks)
        .with_password(Password::File(path.clone()));
    let settings = tls(key, store("authority.pem"));
    node_tls(&settings).expect("the password fits");
    std::fs::remove_file(&path).expect("it is there");
    let told = problems(&settings)[0].to_string();
    assert!(told.contains("its password cannot be had"), "{told}");
}

#[test]
fn what_is_wrong_is_told_in_one_line_without_secrets() {
    let other = Password::given("hush-hush");
    let with = |name: &str| store(name).with_password(other.clone());
    let without = |name: &str| Store::new(fixture(name), form(name));
    let separate = Store {
        key_password: Some(other.clone()),
        ..store("keytool-ec-key-password.jks")
    };
    let cases = [
        (with("keytool-rsa.jks"), "the password is wrong"),
        (with("keytool-ec.p12"), "the password is wrong"),
        (with("openssl-rsa-rc2.p12"), "the password is wrong"),
        (
            with("openssl-ec-encrypted-aes.pem"),
            "the password of the private key is wrong",
        ),
        (separate, "the password of the private key is wrong"),
        (store("keytool-ec-key-password.jks"), "give key-password"),
        (without("keytool-rsa.jks"), "needs key-store-password"),
        (without("keytool-ec.p12"), "with a password"),
        (
            without("openssl-ec-encrypted-aes.pem"),
            "give key-store-password",
        ),
        (
            store("openssl-rsa-encrypted-old.pem"),
            "openssl pkcs8 -topk8",
        ),
        (store("keytool-trust.jks"), "no private key"),
        (store("keytool-trust.p12"), "no private key"),
        (store("authority.pem"), "no private key"),
        (store("keytool-two-keys.jks"), "holds 2 private keys"),
        (store("keytool-rsa.jceks"), "neither JKS nor PKCS12 nor PEM"),
        (store("no-such-file.p12"), "cannot be read"),
    ];
    for (key_store, what) in cases {
        let name = key_store.path.display().to_string();
        let settings = tls(key_store, store("authority.pem"));
        let told = problems(&settings);
        assert_eq!(told.len(), 1, "{name}: {told:?}");
        let told = told[0].to_string();
        assert!(
            told.contains(&name) && told.contains(what),
            "{name}: {told}"
        );
        assert!(!told.contains('\n') && !told.contains("hush") && !told.contains(PASSWORD));
    }
    let keys_only = tls(store("keytool-rsa.jks"), store("openssl-rsa-aes.p12"));
    assert!(
        problems(&keys_only)[0]
            .to_string()
            .contains("no certificate of an authority")
    );
    let others = Authorities::new("foreign");
    let foreign = tls(store("keytool-rsa.jks"), pem(others.file("authority.pem")));
    assert!(
        problems(&foreign)[0]
            .to_string()
            .contains("no node would accept")
    );
}

#[test]
fn everything_that_is_wrong_is_told_in_one_go() {
    let settings = TlsSettings {
        client_trust_store: Some(store("no-such-file.pem")),
        ..tls(
            store("keytool-rsa.jks").with_password(Password::given("wrong")),
            store("keytool-rsa.jceks"),
        )
    };
    let told = problems(&settings);
    assert_eq!(told.len(), 3, "{told:?}");
    let error = node_tls(&settings)
        .err()
        .expect("it may not start")
        .to_string();
    for name in ["keytool-rsa.jks", "keytool-rsa.jceks", "no-such-file.pem"] {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn the_check_of_a_settings_file_opens_its_stores() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("embergrid.toml");
    let text = format!(
        "[tls]\nkey-store-file-path = {:?}\nkey-store-password = \"hush-hush\"\n\
         trust-store-file-path = {:?}\ntrust-store-password = \"hush-hush\"\n\
         [discovery]\nack-timout = \"1s\"\n\
         [[caches]]\nname = \"a\"\nbackup-zone = \"zone\"\n",
        fixture("keytool-rsa.jks"),
        fixture("keytool-trust.jks"),
    );
    std::fs::write(&path, text).expect("a file");
    let file = path.to_str().expect("a plain path");
    let checked = embergrid(&["config", "check", file], PATIENCE);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    // Everything in one go, with its place: what the file says, and what the stores hold.
    for (line, store, cure) in [
        (2, "keytool-rsa.jks", "key-store-password"),
        (4, "keytool-trust.jks", "trust-store-password"),
    ] {
        let place = format!("embergrid.toml:{line}: tls.");
        let said = checked.errors.lines().find(|line| line.contains(store));
        let said = said.unwrap_or_default();
        for word in [&place, "the password is wrong", cure] {
            assert!(said.contains(word), "{word}: {checked:?}");
        }
    }
    assert!(checked.errors.contains("ack-timout"), "{checked:?}");
    assert!(checked.output.contains("warning: "), "{checked:?}");
    assert!(!checked.errors.contains("hush"), "{checked:?}");
}
