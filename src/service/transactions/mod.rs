//! `TransactionService`: `Execute`. What takes several calls, and locks, come later, and are refused
//! with a word.

pub(super) mod execute;

use super::{Front, time_of};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::rpc::proto::transaction_service_server::TransactionService;
use crate::rpc::status::to_status;
use tonic::{Request, Response, Status};

/// Transactions.
#[derive(Clone)]
pub struct TransactionFront {
    front: Front,
}

impl TransactionFront {
    /// The service of a node.
    pub fn new(front: Front) -> Self {
        Self { front }
    }
}

fn later<T>(call: &str) -> Result<Response<T>, Status> {
    let context = format!("{call} is not in this version; Execute is one transaction in one call");
    Err(to_status(&Error::new(ErrorKind::Unimplemented, context)))
}

#[tonic::async_trait]
impl TransactionService for TransactionFront {
    async fn begin(
        &self,
        _: Request<pb::BeginRequest>,
    ) -> Result<Response<pb::BeginResponse>, Status> {
        later("Begin")
    }

    async fn commit(
        &self,
        _: Request<pb::CommitRequest>,
    ) -> Result<Response<pb::CommitResponse>, Status> {
        later("Commit")
    }

    async fn rollback(
        &self,
        _: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::RollbackResponse>, Status> {
        later("Rollback")
    }

    async fn execute(
        &self,
        request: Request<pb::ExecuteRequest>,
    ) -> Result<Response<pb::ExecuteResponse>, Status> {
        let time = time_of(&request);
        let done = execute::run(&self.front, request.into_inner(), time).await;
        done.map(Response::new).map_err(|error| to_status(&error))
    }

    async fn lock(
        &self,
        _: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        later("Lock")
    }

    async fn renew(
        &self,
        _: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewResponse>, Status> {
        later("Renew")
    }

    async fn unlock(
        &self,
        _: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        later("Unlock")
    }
}
