//! Real nodes over real sockets and mutual TLS, in this process, each on a runtime of its own.

mod bad_clients;
mod links;
mod rig;
mod tls_files;
