//! Tests of `decode.rs`: every bound from both sides.

use super::*;
use prost_types::Duration;

fn settings() -> CacheSettings {
    CacheSettings {
        partitions: 16,
        entry_bytes_max: 4,
        ..CacheSettings::named("c")
    }
}

fn put() -> pb::PutRequest {
    pb::PutRequest {
        cache: "c".into(),
        key: "k".into(),
        value: "v".into(),
        ..Default::default()
    }
}

#[test]
fn a_value_stays_where_it_came_in_unless_a_transaction_keeps_it() {
    let settings = CacheSettings {
        entry_bytes_max: 1_000,
        ..settings()
    };
    let put = pb::PutRequest {
        value: vec![1; 1_000].into(),
        ..put()
    };
    let came_in = put.value.as_ptr();
    let stays = |operation: &KeyOperation| matches!(operation, KeyOperation::Put { value, .. } if value.as_ptr() == came_in);
    let request = put.request(&settings).expect("good");
    let asked = matches!(&request.operation,
        Operation::Key { operation, .. } if stays(operation));
    assert!(asked);
    let (_, kept) = crate::service::transactions::execute::place(request);
    assert!(kept.is_some_and(|operation| !stays(&operation)));
}

fn refusal<M: SingleKey>(message: M) -> Error {
    message.request(&settings()).expect_err("refused")
}

#[test]
fn keys_have_one_byte_to_64_kib() {
    assert!(key(b"k").is_ok());
    assert!(key(&[0; KEY_BYTES_MAX]).is_ok());
    for bad in [&[][..], &[0; KEY_BYTES_MAX + 1]] {
        let error = key(bad).expect_err("refused");
        assert_eq!(
            (error.kind, error.reason.as_ref()),
            (ErrorKind::InvalidArgument, "KEY_LENGTH")
        );
    }
    let affinity_key = vec![0; KEY_BYTES_MAX + 1].into();
    assert_eq!(
        refusal(pb::PutRequest {
            affinity_key,
            ..put()
        })
        .reason,
        "KEY_LENGTH"
    );
}

#[test]
fn values_end_at_the_limit_of_the_cache() {
    for good in ["", "1234"] {
        assert!(
            pb::PutRequest {
                value: good.into(),
                ..put()
            }
            .request(&settings())
            .is_ok()
        );
    }
    let error = refusal(pb::PutRequest {
        value: "12345".into(),
        ..put()
    });
    assert_eq!(
        (error.kind, error.reason.as_ref()),
        (ErrorKind::InvalidArgument, "VALUE_TOO_LARGE")
    );
    assert!(error.context.contains("entry-max-size"), "{error}");
    let append = Some(pb::modify_request::Change::Append("12345".into()));
    let modify = pb::ModifyRequest {
        key: "k".into(),
        change: append,
        ..Default::default()
    };
    assert_eq!(refusal(modify).reason, "VALUE_TOO_LARGE");
    let long = pb::condition::Condition::Value("12345".into());
    let condition = Some(pb::Condition {
        condition: Some(long),
    });
    assert_eq!(
        refusal(pb::PutRequest { condition, ..put() }).reason,
        "VALUE_TOO_LARGE"
    );
}

#[test]
fn the_partition_is_that_of_the_affinity_key() {
    let request = put().request(&settings()).expect("a request");
    assert_eq!(request.partition, partition_of(b"k", 16));
    let affinity_key = bytes::Bytes::from("elsewhere");
    let request = pb::PutRequest {
        affinity_key,
        ..put()
    }
    .request(&settings())
    .expect("a request");
    assert_eq!(request.partition, partition_of(b"elsewhere", 16));
}

#[test]
fn a_plain_read_is_where_the_usual_way_finds_it() {
    let plain = pb::GetRequest {
        cache: "c".into(),
        key: "k".into(),
        ..Default::default()
    };
    let with = |change: &dyn Fn(&mut pb::GetRequest)| {
        let mut changed = plain.clone();
        change(&mut changed);
        changed
    };
    let affine = with(&|message| message.affinity_key = "other".into());
    for message in [plain.clone(), affine] {
        let partition = plain_read(&message, &settings());
        let usual = message.request(&settings()).expect("a request");
        assert_eq!(partition, Some(usual.partition));
    }
    for other in [
        with(&|message| message.key = Default::default()),
        with(&|message| message.key = vec![0; KEY_BYTES_MAX + 1].into()),
        with(&|message| message.affinity_key = vec![0; KEY_BYTES_MAX + 1].into()),
        with(&|message| message.touch = Some(pb::Expiry::default())),
        with(&|message| message.omit_value = true),
        with(&|message| message.transaction = "1".into()),
        with(&|message| message.request_id = vec![0; 16].into()),
    ] {
        assert_eq!(plain_read(&other, &settings()), None, "{other:?}");
    }
}

#[test]
fn request_ids_have_sixteen_bytes_or_none() {
    assert_eq!(request_id(&[]), Ok(None));
    assert_eq!(request_id(&[7; 16]), Ok(Some([7; 16])));
    for length in [1, 15, 17, 32] {
        assert!(request_id(&vec![7; length]).is_err());
    }
    let request = pb::PutRequest {
        request_id: vec![7; 16].into(),
        ..put()
    };
    assert_eq!(
        request.request(&settings()).expect("a request").request_id,
        Some([7; 16])
    );
    // A plain read changes nothing and needs none.
    let get = pb::GetRequest {
        key: "k".into(),
        request_id: vec![7; 16].into(),
        ..Default::default()
    };
    assert_eq!(
        get.clone()
            .request(&settings())
            .expect("a request")
            .request_id,
        None
    );
    let touch = pb::GetRequest {
        touch: Some(pb::Expiry::default()),
        ..get
    };
    assert_eq!(
        touch.request(&settings()).expect("a request").request_id,
        Some([7; 16])
    );
}

#[test]
fn parts_of_a_call_have_ids_of_their_own_that_stay() {
    let id = Some([7; 16]);
    assert_eq!(part_id(None, 3), None);
    assert_eq!(part_id(id, 3), part_id(id, 3));
    assert_ne!(part_id(id, 3), part_id(id, 4));
    assert_ne!(part_id(id, 0), id);
    assert_ne!(part_id(id, 3), part_id(Some([8; 16]), 3));
}

#[test]
fn a_transaction_is_known_by_its_name_and_has_no_request_ids() {
    let id = TransactionId {
        topology: 4,
        sequence: 17,
        initiator: Member {
            id: NodeId(u64::MAX),
            incarnation: Incarnation(3),
        },
        attempt: 0,
    };
    let name = transaction_name(id);
    assert_eq!(transaction(&name, &[]).expect("a name"), Some(id));
    assert_eq!(transaction("", &[1; 16]).expect("none"), None);
    for bad in ["t", "1-2-3", "1-2-3-4-5", "1-2-3-", "1--3-4", "1-2-3-x"] {
        let error = transaction(bad, &[]).expect_err(bad);
        assert_eq!(error.reason, "BAD_TRANSACTION", "{bad}");
    }
    let error = transaction(&name, &[1; 16]).expect_err("a request id");
    assert_eq!(error.reason, "REQUEST_ID_IN_TRANSACTION");
    assert!(no_transaction(&name).is_err() && no_transaction("").is_ok());
}

#[test]
fn an_expiry_is_absent_empty_kept_or_set() {
    let second = Some(Duration {
        seconds: 1,
        nanos: 0,
    });
    assert_eq!(expiry(None), Ok(Expiry::Default));
    let none = Expiry::Set {
        time_to_live: None,
        time_to_idle: None,
    };
    assert_eq!(expiry(Some(pb::Expiry::default())), Ok(none));
    let kept = pb::Expiry {
        keep: true,
        ..Default::default()
    };
    assert_eq!(expiry(Some(kept)), Ok(Expiry::Keep));
    assert!(
        expiry(Some(pb::Expiry {
            time_to_live: second,
            ..kept
        }))
        .is_err()
    );
    let set = pb::Expiry {
        time_to_idle: second,
        ..Default::default()
    };
    let idle = Expiry::Set {
        time_to_live: None,
        time_to_idle: Some(1_000_000),
    };
    assert_eq!(expiry(Some(set)), Ok(idle));
}

#[test]
fn durations_have_bounds_on_both_sides() {
    let read = |seconds, nanos| duration("d", Some(Duration { seconds, nanos }));
    assert_eq!(duration("d", None), Ok(None));
    assert_eq!(read(0, 1_000), Ok(Some(1)));
    assert_eq!(read(1, 999), Ok(Some(1_000_000)));
    assert_eq!(
        read(DURATION_SECONDS_MAX, 0),
        Ok(Some(DURATION_SECONDS_MAX as u64 * 1_000_000))
    );
    for (seconds, nanos) in [
        (0, 0),
        (0, 999),
        (-1, 0),
        (0, -1),
        (1, -1),
        (-1, 1),
        (i64::MIN, 0),
        (i64::MAX, 0),
        (DURATION_SECONDS_MAX, 1),
        (DURATION_SECONDS_MAX + 1, 0),
        (1, 1_000_000_000),
        (1, i32::MAX),
        (1, i32::MIN),
    ] {
        let error = read(seconds, nanos).expect_err("refused");
        assert_eq!(error.reason, "BAD_DURATION", "{seconds} s {nanos} ns");
    }
}

#[test]
fn conditions_are_taken_by_their_word() {
    use pb::condition::Condition as Wire;
    let read = |condition| condition_of(Some(condition));
    assert_eq!(condition_of(None), Ok(Condition::Any));
    assert_eq!(read(Wire::Absent(true)), Ok(Condition::Absent));
    assert_eq!(read(Wire::Version(0)), Ok(Condition::Version(0)));
    assert_eq!(
        read(Wire::Value("".into())),
        Ok(Condition::Value(Blob::default()))
    );
    for bad in [Wire::Any(false), Wire::Absent(false), Wire::Present(false)] {
        assert!(read(bad).is_err());
    }
}

fn condition_of(wire: Option<pb::condition::Condition>) -> Result<Condition> {
    condition(Some(pb::Condition { condition: wire }), &settings())
}

#[test]
fn a_modify_needs_a_change() {
    let modify = pb::ModifyRequest {
        key: "k".into(),
        ..Default::default()
    };
    assert_eq!(refusal(modify).kind, ErrorKind::InvalidArgument);
}

#[test]
fn an_unknown_cache_is_named_with_those_that_exist() {
    let mut view = View::default();
    assert_eq!(
        known(&view, "c").expect_err("no view").kind,
        ErrorKind::Unavailable
    );
    view.version.number = 1;
    let error = known(&view, "c").expect_err("no cache");
    assert_eq!(
        (error.kind, error.reason.as_ref()),
        (ErrorKind::NotFound, "NO_SUCH_CACHE")
    );
    assert!(error.context.ends_with("caches here: none"), "{error}");
    for number in 0..NAMES_IN_ERROR_MAX + 2 {
        let settings = CacheSettings::named(&format!("cache-{number:02}"));
        let cache = ViewCache {
            founded: true,
            settings,
            created_at: Default::default(),
            table: Vec::new(),
        };
        view.caches.insert(cache.settings.id(), cache);
    }
    let error = known(&view, "c").expect_err("no cache");
    assert!(error.context.contains("cache-00, cache-01"), "{error}");
    assert!(error.context.ends_with("and 2 more"), "{error}");
    assert!(known(&view, "cache-03").is_ok());
    assert_eq!(
        known(&view, "").expect_err("no name").kind,
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        known(&view, &"n".repeat(256)).expect_err("long").kind,
        ErrorKind::InvalidArgument
    );
}
