//! Scan: prefix, partition, limit, cursor.

use super::alone::{ATOMIC, Alone, put, refused};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use std::collections::BTreeSet;
use tokio_stream::StreamExt;

fn scan() -> pb::ScanRequest {
    pb::ScanRequest {
        cache: ATOMIC.into(),
        ..Default::default()
    }
}

async fn filled() -> Alone {
    let mut node = Alone::start().await;
    for number in 0..300 {
        let key = format!("{}-{number:03}", if number % 3 == 0 { "a" } else { "b" });
        node.cache
            .put(put(ATOMIC, &key, "value"))
            .await
            .expect("a write");
    }
    node
}

async fn all(node: &mut Alone, request: pb::ScanRequest) -> Vec<pb::ScanResponse> {
    let stream = node.cache.scan(request).await.expect("a scan").into_inner();
    stream
        .map(|answer| answer.expect("an entry"))
        .collect()
        .await
}

fn names(answers: &[pb::ScanResponse]) -> BTreeSet<Vec<u8>> {
    let key = |answer: &pb::ScanResponse| answer.entry.as_ref().expect("an entry").key.to_vec();
    answers.iter().map(key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_comes_once() {
    let mut node = filled().await;
    let answers = all(&mut node, scan()).await;
    assert_eq!((answers.len(), names(&answers).len()), (300, 300));
    let with_prefix = pb::ScanRequest {
        key_prefix: "a-".into(),
        keys_only: true,
        ..scan()
    };
    let answers = all(&mut node, with_prefix).await;
    assert_eq!((answers.len(), names(&answers).len()), (100, 100));
    for answer in &answers {
        let entry = answer.entry.as_ref().expect("an entry");
        assert!(entry.key.starts_with(b"a-") && entry.value.is_empty() && entry.version != 0);
    }
    let mut parts = 0;
    for partition in 0..16 {
        let request = pb::ScanRequest {
            partition: Some(partition),
            ..scan()
        };
        parts += all(&mut node, request).await.len();
    }
    assert_eq!(parts, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_on_behind_its_entry() {
    let mut node = filled().await;
    let mut seen = BTreeSet::new();
    let mut cursor = bytes::Bytes::new();
    loop {
        let request = pb::ScanRequest {
            cursor: cursor.clone(),
            limit: 70,
            ..scan()
        };
        let answers = all(&mut node, request).await;
        for name in names(&answers) {
            assert!(seen.insert(name), "an entry came twice");
        }
        let Some(last) = answers.last() else { break };
        cursor = last.cursor.clone();
        assert!(answers.len() <= 70);
    }
    assert_eq!(seen.len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_scans_are_refused() {
    let mut node = filled().await;
    let cursor = all(&mut node, pb::ScanRequest { limit: 1, ..scan() })
        .await
        .remove(0)
        .cursor;
    let damaged = bytes::Bytes::from([&cursor[..cursor.len() - 1], b"x"].concat());
    for (request, reason) in [
        (
            pb::ScanRequest {
                cursor: damaged,
                ..scan()
            },
            "BAD_CURSOR",
        ),
        (
            pb::ScanRequest {
                cursor: "x".into(),
                ..scan()
            },
            "BAD_CURSOR",
        ),
        (
            pb::ScanRequest {
                cursor,
                key_prefix: "a".into(),
                ..scan()
            },
            "BAD_CURSOR",
        ),
        (
            pb::ScanRequest {
                partition: Some(16),
                ..scan()
            },
            "INVALID_ARGUMENT",
        ),
        (
            pb::ScanRequest {
                key_prefix: vec![0; 65_536].into(),
                ..scan()
            },
            "KEY_LENGTH",
        ),
    ] {
        let error = refused(node.cache.scan(request).await);
        assert_eq!(
            (error.kind, error.reason.as_ref()),
            (ErrorKind::InvalidArgument, reason)
        );
    }
}
