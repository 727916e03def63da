//! `TransactionService`: `Begin`, `Commit`, `Rollback` and `Execute`; locks that have a name.

mod begin;
mod lock;

pub(super) mod execute;

use super::{Front, time_of};
use crate::error::Result;
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

fn respond<T>(done: Result<T>) -> Result<Response<T>, Status> {
    done.map(Response::new).map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl TransactionService for TransactionFront {
    async fn begin(
        &self,
        request: Request<pb::BeginRequest>,
    ) -> Result<Response<pb::BeginResponse>, Status> {
        respond(begin::run(&self.front, request.into_inner()))
    }

    async fn commit(
        &self,
        request: Request<pb::CommitRequest>,
    ) -> Result<Response<pb::CommitResponse>, Status> {
        let time = time_of(&request);
        respond(begin::commit(&self.front, &request.into_inner().transaction, time).await)
    }

    async fn rollback(
        &self,
        request: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::RollbackResponse>, Status> {
        let time = time_of(&request);
        respond(begin::roll_back(&self.front, &request.into_inner().transaction, time).await)
    }

    async fn execute(
        &self,
        request: Request<pb::ExecuteRequest>,
    ) -> Result<Response<pb::ExecuteResponse>, Status> {
        let time = time_of(&request);
        respond(execute::run(&self.front, request.into_inner(), time).await)
    }

    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let time = time_of(&request);
        respond(lock::take(&self.front, request.into_inner(), time).await)
    }

    async fn renew(
        &self,
        request: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewResponse>, Status> {
        let time = time_of(&request);
        respond(lock::renew(&self.front, request.into_inner(), time).await)
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let time = time_of(&request);
        respond(lock::release(&self.front, &request.into_inner(), time).await)
    }
}
