//! What is encoded decodes to itself, through the bytes that go over the wire.

use crate::messages::{hello, message};
use crate::random::for_each_seed;
use crate::values::{error, settings};
use embergrid::rpc::codec::direct::{self, Backwards};
use embergrid::rpc::proto::DataFrame;
use embergrid::rpc::{codec, proto, status};
use prost::Message as _;
use std::collections::BTreeSet;

#[test]
fn messages_between_nodes_survive() {
    let mut kinds = BTreeSet::new();
    for_each_seed("messages between nodes", |_, random| {
        let original = message(random);
        let bytes = codec::encode(&original).encode_to_vec();
        let sent = proto::PeerMessage::decode(bytes.as_slice()).unwrap();
        kinds.insert(kind(&sent));
        assert_eq!(codec::decode(sent).unwrap(), original);
        // Data frames have their own way to and from the same bytes.
        let frame = DataFrame {
            id: 7,
            hello: None,
            messages: vec![original],
        };
        let mut out = Backwards::with_capacity(0);
        if direct::encode(&frame.messages[0], &mut out) {
            assert_eq!(out.written(), bytes);
        }
        let sent = frame.encode_to_vec();
        assert_eq!(DataFrame::decode(sent.as_slice()), Ok(frame));
    });
    println!("messages between nodes: {} kinds", kinds.len());
}

/// The first words of a message's debug form: its kind, and that of its body.
fn kind(sent: &proto::PeerMessage) -> String {
    let text = format!("{sent:?}");
    let body = text.find("body: Some(").map_or("", |at| &text[at + 11..]);
    let first = |text: &str| text.split('(').next().unwrap_or_default().to_owned();
    format!(
        "{} {}",
        first(&text[text.find("Some(").map_or(0, |at| at + 5)..]),
        first(body)
    )
}

#[test]
fn hello_survives() {
    for_each_seed("hello", |_, random| {
        let original = hello(random);
        let bytes = codec::hello::encode(&original).encode_to_vec();
        let sent = proto::Hello::decode(bytes.as_slice()).unwrap();
        assert_eq!(codec::hello::decode(sent).unwrap(), original);
    });
}

#[test]
fn settings_survive() {
    for_each_seed("settings", |_, random| {
        let original = settings(random);
        let bytes = codec::settings::encode(&original).encode_to_vec();
        let sent = proto::CacheSettings::decode(bytes.as_slice()).unwrap();
        assert_eq!(codec::settings::decode(sent).unwrap(), original);
    });
}

#[test]
fn errors_survive() {
    for_each_seed("errors", |_, random| {
        let original = error(random);
        assert_eq!(status::from_status(&status::to_status(&original)), original);
        assert_eq!(status::from_proto(status::to_proto(&original)), original);
    });
}
