//! `grpc.health.v1`: SERVING while the node is in a view and not fenced, its certificate has not
//! expired, and its clock agrees with its peers'; asked anew at each check.

use super::limits::STREAM_QUEUE_MAX;
use crate::node::Handle;
use crate::rpc::proto::cache_service_server::SERVICE_NAME as CACHE_SERVICE;
use crate::rpc::proto::cluster_service_server::SERVICE_NAME as CLUSTER_SERVICE;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How often a watch looks again beside changes of the view: a lease lapses without one.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The health service.
#[derive(Clone)]
pub struct HealthFront {
    handle: Handle,
}

impl HealthFront {
    /// The health of this node.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The service to be mounted.
    pub fn into_server(self) -> HealthServer<Self> {
        HealthServer::new(self)
    }

    fn status(&self) -> ServingStatus {
        let handle = &self.handle;
        let sound = !handle.certificate_expired() && handle.clock_apart().is_zero();
        if handle.serving() && sound {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || service == CACHE_SERVICE || service == CLUSTER_SERVICE
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthFront {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if is_known(&request.get_ref().service) {
            return Ok(Response::new(answer(self.status())));
        }
        Err(Status::not_found("no service of this name is served here"))
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    /// The status now and at every change; for a service that is not served here SERVICE_UNKNOWN,
    /// and the stream stays open, as the protocol wants it.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = is_known(&request.get_ref().service);
        let front = self.clone();
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE_MAX);
        tokio::spawn(async move {
            let mut views = front.handle.views();
            let mut told = None;
            loop {
                let status = if known {
                    front.status()
                } else {
                    ServingStatus::ServiceUnknown
                };
                if told != Some(status) {
                    told = Some(status);
                    if sender.send(Ok(answer(status))).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    changed = views.changed() => if changed.is_err() { return },
                    () = front.handle.stopped() => {
                        let _ = sender.send(Ok(answer(ServingStatus::NotServing))).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
