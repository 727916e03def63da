//! Key and trust stores as openssl and keytool write them, in all three forms: they open, nodes
//! link with them, and what is wrong with one is told in one clear line.

use crate::process::embergrid;
use crate::rig::{Authorities, PATIENCE, TestNode, listeners, pem, settings, validity, wait_until};
use embergrid::config::{Password, Settings, Store, StoreType, TlsSettings};
use embergrid::rpc::certificates::Validity;
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
    let told = problems(&settings)[0].error.to_string();
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
        assert_eq!(told.len(), 1, "{name}");
        let told = told[0].error.to_string();
        assert!(
            told.contains(&name) && told.contains(what),
            "{name}: {told}"
        );
        assert!(!told.contains('\n') && !told.contains("hush") && !told.contains(PASSWORD));
    }
    let keys_only = tls(store("keytool-rsa.jks"), store("openssl-rsa-aes.p12"));
    assert!(
        problems(&keys_only)[0]
            .error
            .to_string()
            .contains("no certificate of an authority")
    );
    let others = Authorities::new("foreign");
    let foreign = tls(store("keytool-rsa.jks"), pem(others.file("authority.pem")));
    assert!(
        problems(&foreign)[0]
            .error
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
    assert_eq!(told.len(), 3);
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

/// The lines of what `config check` says about a settings file with these lines under `[tls]`.
fn checked_lines(folder: &Path, name: &str, tls: &str) -> Vec<String> {
    let path = folder.join(name);
    std::fs::write(&path, tls).expect("a file");
    let file = path.to_str().expect("a plain path");
    let checked = embergrid(&["config", "check", file], PATIENCE);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    let started = embergrid(&["node", "--config", file], PATIENCE);
    // A node says the same, before it does anything.
    assert_eq!(started.code, Some(2), "{started:?}");
    assert_eq!(started.errors, checked.errors);
    checked.errors.lines().map(str::to_owned).collect()
}

#[test]
fn what_a_store_holds_is_told_with_its_place_and_its_own_cure() {
    let authorities = Authorities::new("cures");
    let folder = tempfile::tempdir().expect("a folder");
    let good = authorities.authority.node("node", &[], validity());
    let other = authorities.authority.node("other", &[], validity());
    let client = authorities.authority.client("client", validity());
    let (good, other, client) = (
        good.expect("a node"),
        other.expect("a node"),
        client.expect("a client"),
    );
    let mismatch = format!("{}{}", good.key_pem, other.certificate_pem);
    let two = format!("{}{}", other.key_pem, good.key_store_pem());
    let past = Validity {
        not_before: validity().not_before - time::Duration::days(9),
        not_after: validity().not_before - time::Duration::days(8),
    };
    let past = authorities
        .authority
        .node("past", &[], past)
        .expect("a node");
    let foreign = Authorities::new("cures-foreign");
    let foreign = foreign
        .authority
        .node("f", &[], validity())
        .expect("a node");
    for (content, what, cure) in [
        (
            mismatch,
            "does not belong",
            "its own certificate into one file",
        ),
        (two, "holds 2 private keys", "name another one"),
        (past.key_store_pem(), "expired", "renew the certificate"),
        (
            client.key_store_pem(),
            "not the certificate of a node",
            "the key store of a node",
        ),
        (
            foreign.key_store_pem(),
            "no node would accept",
            "add its authority there",
        ),
        (String::new(), "is empty", "JKS, PKCS12 or PEM"),
    ] {
        std::fs::write(folder.path().join("key.pem"), content).expect("a file");
        let trust = authorities.file("authority.pem");
        let toml = format!(
            "[tls]\nkey-store-type = \"PEM\"\nkey-store-file-path = \"key.pem\"\n\
             trust-store-type = \"PEM\"\ntrust-store-file-path = {trust:?}\n"
        );
        let said = checked_lines(folder.path(), "a.toml", &toml);
        let [said] = &said[..] else {
            panic!("{what}: {said:?}");
        };
        for word in ["a.toml:3: tls.key-store-file-path: ", what, cure] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

#[test]
fn a_file_that_may_not_be_read_is_told_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----").expect("a file");
    let nobody = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(&path, nobody).expect("permissions");
    if std::fs::read(&path).is_ok() {
        // Who may read everything cannot be refused; a folder is refused to all.
        std::fs::remove_file(&path).expect("it is there");
        std::fs::create_dir(&path).expect("a folder");
    }
    let toml = "[tls]\nkey-store-file-path = \"key.pem\"\n";
    let said = checked_lines(folder.path(), "a.toml", toml);
    let about = said.iter().find(|line| line.contains("a.toml:2: "));
    let about = about.unwrap_or_else(|| panic!("{said:?}"));
    assert!(
        about.contains("Permission denied") || about.contains("not a file"),
        "{about}"
    );
    assert!(about.contains("that this node may read"), "{about}");
}

#[test]
fn one_missing_store_does_not_hide_what_is_wrong_with_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fixture("keytool-rsa.jks");
    let yaml = format!("tls:\n  key-store-file-path: {store:?}\n  key-store-password: wrong\n");
    let said = checked_lines(folder.path(), "a.yaml", &yaml);
    assert!(
        said.iter()
            .any(|line| line.contains("the password is wrong")),
        "{said:?}"
    );
    assert!(
        said.iter().any(|line| line.contains("nobody is trusted")),
        "{said:?}"
    );
}

#[test]
fn a_cure_is_written_as_its_file_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fixture("openssl-rsa-aes.p12");
    let store = store.to_str().expect("a plain path");
    for (name, text, cure) in [
        (
            "a.properties",
            format!("cas.ticket.registry.ignite.key-store-file-path={store}\n"),
            "write key-store-type=PKCS12",
        ),
        (
            "a.yaml",
            format!("tls:\n  key-store-file-path: {store}\n"),
            "write key-store-type: PKCS12",
        ),
        (
            "a.toml",
            format!("[tls]\nkey-store-file-path = \"{store}\"\n"),
            "write key-store-type = \"PKCS12\"",
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let checked = embergrid(
            &["config", "check", path.to_str().expect("plain")],
            PATIENCE,
        );
        assert!(checked.output.contains(cure), "{cure}: {checked:?}");
    }
}
