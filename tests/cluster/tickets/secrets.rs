//! Tickets that are encrypted: nothing of what they say is stored or sent in clear, and all that
//! holds for tickets holds for them.

use super::registry::{Registry, child, text, ticket};
use crate::services::alone::until;
use embergrid::config::{Password, Settings};
use embergrid::rpc::proto as pb;
use embergrid::types::cache::CacheId;

const OLD: &str = "the old key of more than thirty-two characters";
const NEW: &str = "the new key of more than thirty-two characters";
const DIGEST: &str = "the key of digests, of thirty-two characters";

fn with_keys(settings: &mut Settings, keys: &[&str]) {
    let keys = keys.iter().map(|key| Password::given(*key));
    settings.tickets.encryption_keys = keys.collect();
    settings.tickets.digest_key = Some(Password::given(DIGEST));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tickets_say_is_nowhere_in_clear() {
    // In the middle of a change of keys: one node has both of them.
    let registry = Registry::start_with(2, |node, settings| {
        let keys = [&[OLD][..], &[OLD, NEW][..]];
        with_keys(settings, keys[node]);
    })
    .await;
    let mut session = ticket("TGT-secret", "TGT");
    let values = vec!["mail@secret".into()];
    session
        .attributes
        .insert("mail".into(), pb::AttributeValues { values });
    registry.add(0, session.clone()).await;
    registry
        .add(1, child("ST-secret", "ST", "TGT-secret"))
        .await;
    let found = registry.get(1, "TGT-secret").await.expect("it lives");
    assert_eq!(found.id, session.id);
    assert_eq!(found.principal, session.principal);
    assert_eq!(found.attributes, session.attributes);
    assert_eq!(found.payload, session.payload);
    let service = registry.get(0, "ST-secret").await.expect("it lives");
    assert_eq!(text(&service.parent_id), "TGT-secret");
    assert_eq!(text(&service.root_id), "TGT-secret");
    let mut stored = 0;
    for node in &registry.nodes {
        let handle = node.handle();
        for partition in 0..1024 {
            for (key, entry) in handle.contents(CacheId::of("tickets"), partition) {
                let value = entry.live.map(|live| live.value).unwrap_or_default();
                for secret in ["secret", "alice", "payload", "mail"] {
                    let shows = |bytes: &[u8]| {
                        bytes
                            .windows(secret.len())
                            .any(|part| part == secret.as_bytes())
                    };
                    assert!(!shows(&key) && !shows(&value), "{secret} is in clear");
                }
                stored += 1;
            }
        }
    }
    assert!(stored >= 4, "{stored} entries were looked at");
    let of_alice = pb::ListTicketsRequest {
        principal: "alice".into(),
        ..Default::default()
    };
    assert_eq!(registry.list(1, of_alice).await.0.len(), 2);
    assert_eq!(registry.delete(1, "TGT-secret").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shares_no_key_is_refused() {
    let registry = Registry::start_with(1, |_, settings| with_keys(settings, &[OLD])).await;
    let address = registry.nodes[0].address.to_string();
    for (keys, word) in [
        (&[NEW][..], "share no encryption-key"),
        (&[][..], "do not both encrypt"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address").to_string();
        let list = embergrid::config::AddressList::of([address.as_str(), own.as_str()]);
        let tls = registry.tls("stranger");
        let mut settings = crate::rig::settings(&list.expect("addresses"), tls);
        if !keys.is_empty() {
            with_keys(&mut settings, keys);
        }
        let mut node = crate::rig::TestNode::start(&settings, listener).expect("a node");
        until("the refusal is told", || async {
            node.handle().probe_report().contains(word)
        })
        .await;
        assert_eq!(registry.nodes[0].handle().view().nodes.len(), 1);
        tokio::task::block_in_place(|| node.kill());
    }
}
