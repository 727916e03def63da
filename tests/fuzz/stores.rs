//! Key and trust stores: damaged ones are refused or read as something, never a panic, and never
//! a wait without end.

use crate::damage::damaged;
use crate::random::for_each_seed;
use embergrid::config::{Password, Store, StoreType};
use embergrid::rpc::stores::{jks, pkcs12, read_key_store, read_trust_store};
use std::path::Path;

const FILES: [&str; 9] = [
    "keytool-ec-key-password.jks",
    "keytool-rsa.jks",
    "keytool-trust.jks",
    "keytool-trust.p12",
    "openssl-ec-aes.p12",
    "openssl-ec-des3.p12",
    "openssl-trust.p12",
    "openssl-ec-encrypted-aes.pem",
    "openssl-ec-sec1.pem",
];

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn damaged_java_key_stores_do_no_harm() {
    let files: Vec<_> = FILES[..3].iter().map(|name| fixture(name)).collect();
    for_each_seed("Java key stores", |_, random| {
        let file = random.pick(&files);
        let spoiled = damaged(random, file);
        // Without the check at the end, so that what lies behind it is reached.
        let read = jks::read(&spoiled, None);
        for entry in read.unwrap_or_default() {
            if let jks::Entry::Key { sealed, .. } = entry {
                let _ = jks::unseal(&sealed, "changeit");
            }
        }
        let _ = jks::authorities(&spoiled, Some("changeit"));
    });
}

#[test]
fn keys_of_any_length_come_out_of_their_seal() {
    for_each_seed("sealed keys", |_, random| {
        let key = random.bytes(300);
        let password = String::from_utf8_lossy(&random.bytes(12)).into_owned();
        let salt = std::array::from_fn(|_| random.number() as u8);
        let sealed = jks::seal(&key, &password, salt);
        assert_eq!(jks::unseal(&sealed, &password).as_ref(), Ok(&key));
        let spoiled = damaged(random, sealed);
        // An empty key comes out whatever its salt.
        assert!(jks::unseal(&spoiled, &password).map_or(true, |opened| opened == key));
    });
}

#[test]
fn damaged_files_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let files: Vec<_> = FILES.iter().map(|name| fixture(name)).collect();
    let mut inputs = 0u64;
    for_each_seed("key and trust stores", |_, random| {
        // Stretching passwords takes its time: a part of the inputs will do.
        inputs += 1;
        if !inputs.is_multiple_of(16) {
            return;
        }
        let file = random.pick(&files);
        let spoiled = damaged(random, file);
        let _ = pkcs12::key(&spoiled, "changeit");
        std::fs::write(&path, &spoiled).unwrap();
        let store = Store::new(&path, StoreType::Pem).with_password(Password::given("changeit"));
        let _ = read_key_store(&store, 0);
        let _ = read_trust_store(&store);
    });
}
