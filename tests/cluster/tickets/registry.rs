//! Some nodes, and what a test asks of them.

use crate::rig::{Authorities, TestNode, listeners, settings};
use crate::services::alone::{channel, refused, until};
use embergrid::config::{Settings, TlsSettings};
use embergrid::error::Error;
use embergrid::rpc::proto as pb;
use embergrid::rpc::tls::client_tls;
use pb::ticket_service_client::TicketServiceClient;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

/// A cluster and a client for each of its nodes.
pub struct Registry {
    authorities: Authorities,
    pub nodes: Vec<TestNode>,
    pub clients: Vec<TicketServiceClient<Channel>>,
}

impl Registry {
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, |_, _| {}).await
    }

    /// With other settings for each node.
    pub async fn start_with(count: usize, change: impl Fn(usize, &mut Settings)) -> Self {
        let authorities = Authorities::new("tickets");
        let (listeners, list) = listeners(count);
        let mut nodes = Vec::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let mut settings = settings(&list, authorities.node(&format!("node-{number}")));
            change(number, &mut settings);
            nodes.push(TestNode::start(&settings, listener).expect("a node"));
        }
        let tls = client_tls(&authorities.client("client"))
            .expect("files")
            .expect("TLS is on");
        let clients = nodes
            .iter()
            .map(|node| TicketServiceClient::new(channel(node.address.port(), tls.clone())));
        let registry = Self {
            authorities,
            clients: clients.collect(),
            nodes,
        };
        until("all are in one view", || async {
            let serves = |node: &TestNode| {
                let handle = node.handle();
                handle.serving() && handle.view().nodes.len() == count
            };
            registry.nodes.iter().all(serves)
        })
        .await;
        registry
    }

    /// The TLS settings of one more node.
    pub fn tls(&self, name: &str) -> TlsSettings {
        self.authorities.node(name)
    }

    pub fn client(&self, node: usize) -> TicketServiceClient<Channel> {
        self.clients[node % self.clients.len()].clone()
    }

    /// Stores a ticket through one of the nodes.
    pub async fn add(&self, node: usize, ticket: pb::Ticket) -> pb::AddTicketResponse {
        let request = pb::AddTicketRequest {
            ticket: Some(ticket),
            ..Default::default()
        };
        let added = self.client(node).add(request).await;
        added.expect("a ticket is added").into_inner()
    }

    pub async fn not_added(&self, node: usize, ticket: pb::Ticket) -> Error {
        let request = pb::AddTicketRequest {
            ticket: Some(ticket),
            ..Default::default()
        };
        refused(self.client(node).add(request).await)
    }

    pub async fn get(&self, node: usize, id: &str) -> Option<pb::Ticket> {
        match self.client(node).get(wanted(id, "")).await {
            Ok(response) => response.into_inner().ticket,
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => panic!("{id}: {status}"),
        }
    }

    pub async fn used(&self, node: usize, id: &str) -> Option<pb::Ticket> {
        let request = pb::UseTicketRequest {
            id: id.to_owned().into(),
            ..Default::default()
        };
        match self.client(node).r#use(request).await {
            Ok(response) => response.into_inner().ticket,
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => panic!("{id}: {status}"),
        }
    }

    pub async fn delete(&self, node: usize, id: &str) -> u64 {
        let request = pb::DeleteTicketRequest {
            id: id.to_owned().into(),
            ..Default::default()
        };
        let deleted = self.client(node).delete(request).await;
        deleted.expect("a delete").into_inner().deleted
    }

    pub async fn end(&self, node: usize, principal: &str) -> u64 {
        let request = pb::DeleteForPrincipalRequest {
            principal: principal.to_owned().into(),
            ..Default::default()
        };
        let deleted = self.client(node).delete_for_principal(request).await;
        deleted.expect("a delete").into_inner().deleted
    }

    pub async fn count(&self, node: usize, request: pb::CountTicketsRequest) -> u64 {
        let counted = self.client(node).count(request).await;
        counted.expect("a count").into_inner().count
    }

    /// The ids that a list finds, in their order, and the last cursor.
    pub async fn list(
        &self,
        node: usize,
        request: pb::ListTicketsRequest,
    ) -> (Vec<String>, bytes::Bytes) {
        let stream = self.client(node).list(request).await.expect("a list");
        let mut stream = stream.into_inner();
        let (mut ids, mut cursor) = (Vec::new(), bytes::Bytes::new());
        while let Some(found) = stream.next().await {
            let found = found.expect("a ticket");
            ids.push(text(&found.ticket.expect("a ticket").id));
            cursor = found.cursor;
        }
        (ids, cursor)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Each node has a runtime of its own, whose end is waited for.
        tokio::task::block_in_place(|| self.nodes.clear());
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A ticket of alice's.
pub fn ticket(id: &str, kind: &str) -> pb::Ticket {
    pb::Ticket {
        id: id.to_owned().into(),
        kind: kind.into(),
        principal: "alice".into(),
        payload: format!("payload of {id}").into(),
        ..Default::default()
    }
}

/// The same below a parent.
pub fn child(id: &str, kind: &str, parent: &str) -> pb::Ticket {
    pb::Ticket {
        parent_id: parent.to_owned().into(),
        ..ticket(id, kind)
    }
}

pub fn wanted(id: &str, kind: &str) -> pb::GetTicketRequest {
    pb::GetTicketRequest {
        id: id.to_owned().into(),
        kind: kind.into(),
    }
}

/// So long, as the messages have it.
pub fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}
