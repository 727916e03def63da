//! Pipeline: order per key and per ticket, errors per request, many in flight.

use super::alone::{ATOMIC, Alone, TRANSACTIONAL, get, put, refused, soon};
use embergrid::error::ErrorKind;
use embergrid::rpc::proto as pb;
use embergrid::rpc::proto::ticket_service_client::TicketServiceClient;
use embergrid::rpc::proto::transaction_service_client::TransactionServiceClient;
use embergrid::rpc::status::from_proto;
use pb::pipeline_request::Operation;
use pb::pipeline_response::Result as Answer;
use std::collections::BTreeMap;
use tokio_stream::StreamExt;

async fn send(node: &mut Alone, requests: Vec<pb::PipelineRequest>) -> Vec<pb::PipelineResponse> {
    let stream = node
        .cache
        .pipeline(tokio_stream::iter(requests))
        .await
        .expect("a pipeline");
    soon(
        stream
            .into_inner()
            .map(|answer| answer.expect("an answer"))
            .collect(),
    )
    .await
}

fn numbered(operations: impl IntoIterator<Item = Operation>) -> Vec<pb::PipelineRequest> {
    let number = |(id, operation)| pb::PipelineRequest {
        id,
        operation: Some(operation),
    };
    (0..).zip(operations).map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_one_key_are_carried_out_in_order() {
    let mut node = Alone::start().await;
    let append = |count: usize| {
        Operation::Modify(pb::ModifyRequest {
            cache: ATOMIC.into(),
            key: format!("k{}", count % 10).into(),
            change: Some(pb::modify_request::Change::Append(
                format!("{},", count / 10).into(),
            )),
            ..Default::default()
        })
    };
    let begin = (0..10).map(|count| Operation::Put(put(ATOMIC, &format!("k{count}"), "")));
    let requests = numbered(begin.chain((0..1_000).map(append)));
    let answers = send(&mut node, requests).await;
    let by_id: BTreeMap<u64, Answer> = answers
        .into_iter()
        .map(|answer| (answer.id, answer.result.expect("a result")))
        .collect();
    assert_eq!(by_id.len(), 1_010);
    for (id, answer) in by_id {
        let applied = match &answer {
            Answer::Put(put) => put.applied,
            Answer::Modify(modify) => modify.applied,
            _ => false,
        };
        assert!(applied, "{id}: {answer:?}");
    }
    let expected: String = (0..100).map(|count| format!("{count},")).collect();
    for count in 0..10 {
        let read = node
            .cache
            .get(get(ATOMIC, &format!("k{count}")))
            .await
            .expect("a read");
        assert_eq!(read.into_inner().entry.expect("an entry").value, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_concern_their_own_request_only() {
    let mut node = Alone::start().await;
    let touch = pb::TouchRequest {
        cache: ATOMIC.into(),
        key: "k".into(),
        ..Default::default()
    };
    let remove = pb::RemoveRequest {
        cache: ATOMIC.into(),
        key: "k".into(),
        ..Default::default()
    };
    let mut requests = numbered([
        Operation::Put(put(ATOMIC, "k", "v")),
        Operation::Put(put("none", "k", "v")),
        Operation::Put(put(ATOMIC, "", "v")),
        Operation::Get(get(ATOMIC, "k")),
        Operation::Touch(touch),
        Operation::Remove(remove),
    ]);
    requests.push(pb::PipelineRequest {
        id: 6,
        operation: None,
    });
    let mut answers = send(&mut node, requests).await;
    answers.sort_by_key(|answer| answer.id);
    let results: Vec<_> = answers
        .into_iter()
        .filter_map(|answer| answer.result)
        .collect();
    let kind = |place: usize| match results[place].clone() {
        Answer::Error(error) => Some(from_proto(error).kind),
        _ => None,
    };
    assert!(matches!(&results[0], Answer::Put(put) if put.applied));
    assert_eq!(kind(1), Some(ErrorKind::NotFound));
    assert_eq!(kind(2), Some(ErrorKind::InvalidArgument));
    assert!(matches!(&results[3], Answer::Get(get) if get.entry.is_some()));
    assert!(matches!(&results[4], Answer::Touch(touch) if touch.applied));
    assert!(matches!(&results[5], Answer::Remove(remove) if remove.applied));
    assert_eq!(kind(6), Some(ErrorKind::InvalidArgument));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_of_the_stream_ends_it() {
    let node = Alone::start().await;
    let (_open, receiver) = tokio::sync::mpsc::channel::<pb::PipelineRequest>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut request = tonic::Request::new(stream);
    request.set_timeout(std::time::Duration::from_secs(3));
    let mut answers = node
        .cache
        .clone()
        .pipeline(request)
        .await
        .expect("a pipeline")
        .into_inner();
    assert_eq!(
        refused(soon(answers.message()).await).kind,
        ErrorKind::DeadlineExceeded
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_within_a_transaction_are_carried_out_in_order_beside_others() {
    let mut node = Alone::start().await;
    let mut transactions = TransactionServiceClient::new(node.channel());
    let begun = transactions.begin(pb::BeginRequest::default()).await;
    let transaction = begun.expect("a transaction").into_inner().transaction;
    let stores = |key: &str, value: &str, transaction: &str| {
        Operation::Put(pb::PutRequest {
            transaction: transaction.to_owned(),
            ..put(TRANSACTIONAL, key, value)
        })
    };
    let reads = |key: &str, transaction: &str| {
        Operation::Get(pb::GetRequest {
            transaction: transaction.to_owned(),
            ..get(TRANSACTIONAL, key)
        })
    };
    let within = (0..100).map(|count| stores(&format!("k{}", count % 10), "in", &transaction));
    let seen = [reads("k0", &transaction), reads("k0", ""), reads("k0", "x")];
    let mut answers = send(&mut node, numbered(within.chain(seen))).await;
    answers.sort_by_key(|answer| answer.id);
    let results: Vec<Answer> = answers
        .into_iter()
        .filter_map(|answer| answer.result)
        .collect();
    assert_eq!(results.len(), 103);
    for stored in &results[..100] {
        assert!(
            matches!(stored, Answer::Put(put) if put.applied),
            "{stored:?}"
        );
    }
    assert!(matches!(&results[100], Answer::Get(got) if got.entry.is_some()));
    assert!(matches!(&results[101], Answer::Get(got) if got.entry.is_none()));
    let Answer::Error(error) = results[102].clone() else {
        panic!("{:?}", results[102]);
    };
    assert_eq!(from_proto(error).kind, ErrorKind::InvalidArgument);
    let commit = pb::CommitRequest { transaction };
    transactions.commit(commit).await.expect("a commit");
    let read = node.cache.get(get(TRANSACTIONAL, "k9")).await;
    assert!(read.expect("a read").into_inner().entry.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_read_and_used_in_order() {
    let mut node = Alone::start().await;
    let mut tickets = TicketServiceClient::new(node.channel());
    let ticket = |id: String, kind: &str, parent: &str| pb::Ticket {
        id: id.into(),
        kind: kind.to_owned(),
        parent_id: parent.to_owned().into(),
        ..Default::default()
    };
    let session = ticket("TGT-1".to_owned(), "TGT", "");
    let children = (0..50).map(|number| ticket(format!("TST-{number}"), "TST", "TGT-1"));
    let request = pb::AddTicketsRequest {
        tickets: std::iter::once(session).chain(children).collect(),
        ..Default::default()
    };
    tickets.add_many(request).await.expect("they are stored");
    let reads = |id: String, kind: &str| {
        let kind = kind.to_owned();
        let id = id.into();
        Operation::GetTicket(pb::GetTicketRequest { id, kind })
    };
    let uses = |id: String, request_id: &'static [u8]| {
        Operation::UseTicket(pb::UseTicketRequest {
            id: id.into(),
            kind: "TST".to_owned(),
            request_id: request_id.into(),
        })
    };
    let of_one = |number: usize| {
        let id = format!("TST-{number}");
        [
            reads(id.clone(), "TST"),
            uses(id.clone(), b""),
            reads(id.clone(), ""),
            uses(id, b""),
        ]
    };
    let others = [
        reads("TGT-1".to_owned(), "ST"),
        reads("TGT-1".to_owned(), "TGT"),
        uses("TGT-1".to_owned(), b"short"),
    ];
    let requests = numbered((0..50).flat_map(of_one).chain(others));
    let mut answers = send(&mut node, requests).await;
    answers.sort_by_key(|answer| answer.id);
    let results: Vec<Answer> = answers
        .into_iter()
        .filter_map(|answer| answer.result)
        .collect();
    assert_eq!(results.len(), 203);
    let failed = |place: usize| match results[place].clone() {
        Answer::Error(error) => from_proto(error),
        other => panic!("{place}: {other:?}"),
    };
    for first in (0..200).step_by(4) {
        let uses = |answer: &Answer| match answer {
            Answer::GetTicket(got) => got.ticket.as_ref().map(|ticket| ticket.uses),
            Answer::UseTicket(used) => used.ticket.as_ref().map(|ticket| ticket.uses),
            _ => None,
        };
        assert_eq!(uses(&results[first]), Some(0), "{:?}", results[first]);
        assert_eq!(uses(&results[first + 1]), Some(1), "it was used");
        assert_eq!(failed(first + 2).kind, ErrorKind::NotFound);
        assert_eq!(failed(first + 3).kind, ErrorKind::NotFound);
    }
    let wrong = failed(200);
    assert_eq!(wrong.kind, ErrorKind::WrongKind);
    assert_eq!(wrong.detail.as_deref(), Some("TGT"));
    assert!(matches!(&results[201], Answer::GetTicket(got) if got.ticket.is_some()));
    assert_eq!(failed(202).kind, ErrorKind::InvalidArgument);
}
