//! Real nodes over real sockets and mutual TLS: some in this process, each on a runtime of its own
//! (`rig`), others as processes (`process`). Each test takes free ports of the loopback interface
//! and waits for conditions with a deadline, never for luck.

mod admission;
mod answers;
mod bad_clients;
mod bad_peers;
mod bench;
mod client_nodes;
mod client_streams;
mod commands;
mod commands_on_caches;
mod commands_on_keys;
mod commands_that_watch;
mod console;
mod demo;
mod effects;
mod given_up;
mod joining;
mod key_stores;
mod killed_node;
mod killed_owner;
mod links;
mod local;
mod locks;
mod lost;
mod lost_commit;
mod majorities;
mod one_node;
mod paused_node;
mod process;
mod python;
mod renewal;
mod restarts;
mod rig;
mod routing;
mod services;
mod stalled_link;
mod stopping;
mod terminal;
mod ticket_client;
mod ticket_commands;
mod tickets;
mod tls_files;
mod transaction_client;
mod transaction_commands;
mod versions;
