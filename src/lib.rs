//! embergrid: a peer-to-peer distributed cache cluster.
//!
//! Nodes find each other from one address list, form a mesh over mutual TLS, spread the
//! partitions of their caches over the servers among them, and keep copies. Any node answers any
//! request. The parts, from the bottom up:
//!
//! * [`types`], [`error`], [`config`]: the vocabulary, what a caller should do about an error,
//!   and the settings.
//! * [`engine`]: decides. Pure state machines without input, output or clocks: one for membership,
//!   placement and views on each node, one for each partition. [`engine::Grid`] holds them with
//!   their locks; [`engine::Shell`] is their one way out.
//! * [`rpc`]: speaks. TLS, links, protobuf and statuses.
//! * [`node`]: runs the engine: clocks, links, tasks. The only place where engine and rpc meet.
//! * [`service`]: the gRPC services, which decode, ask the node and encode.
//! * [`client`], [`cli`]: what people touch.
//!
//! # A node in your own program
//!
//! A Rust program may run a node itself. What that node owns it reads without leaving the process;
//! to the rest of the cluster it is a node like any other. In a REPLICATED cache it owns everything.
//!
//! ```no_run
//! use embergrid::Node;
//! use embergrid::config::{Settings, environment};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::load(Some("embergrid.toml".as_ref()), environment(), Vec::new())
//!     .map_err(|problems| format!("{problems:?}"))?;
//! let node = Node::start(&settings)?;
//! let mut views = node.handle().views();
//! views.wait_for(|view| view.cache_named("sessions").is_some()).await?;
//!
//! let sessions = node.handle().cache("sessions")?;
//! sessions.put(b"TGT-1", b"alice").await?;
//! let session = sessions.get(b"TGT-1").await?;
//! assert!(session.is_some_and(|session| &*session.value == b"alice"));
//! node.shut_down().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where the time goes
//!
//! Looked at with `perf` (call graphs) while `embergrid bench` ran: release build, mutual TLS on
//! loopback, 1 KiB values, 32 callers. Shares of the processor time of the node before what is named
//! below was removed:
//!
//! | where | unary get | unary put |
//! |---|---|---|
//! | our service and all below it | 9 % | 22 % |
//! | of that: the engine | 5 % | 16 % |
//! | of that: adding, committing and applying the update | – | 9 % |
//! | of that: keeping it for watchers who resume; remembering the request id | – | 3 %; 2 % |
//! | taking memory, wherever it is asked for | 6 % | 21 % |
//! | the rest: kernel, TLS, HTTP/2, gRPC, which the floor has as well | 91 % | 78 % |
//!
//! So a get is the price of gRPC, and a put was dear in memory. Removed since: copies of the operation
//! and of the update; events that are kept where nobody watches; a tree of request ids and a wake-up
//! for each of them; locks that a request took to find nothing; the C library's allocator, in the
//! program (a library leaves that choice to its user). And before: a timer for each call, also for
//! those that are answered at once; a boxed future for each request of a pipeline; a queue and a task
//! for each of its answers; a timer of the client for each call on a shared stream.
//!
//! Afterwards, one run on two cores that did nothing else (get and put in 7 rounds, the others in 3):
//!
//! | what | processor time of the nodes for a call | of the unary floor |
//! |---|---|---|
//! | get of 1 KiB | 21.7 µs | 0.86 |
//! | put of 1 KiB | 25.4 µs | 0.97 |
//! | get of 64 B; in a pipeline, 64 callers | 21.5 µs; 4.5 µs | 1.03; – |
//! | put, REPLICATED, FULL_SYNC, both of two nodes together | 97 µs | 0.27 |
//! | get in a program of its own, two threads | 0.9 µs | – |
//!
//! A replicated put is the dear one. No function of the engine has more than 2 % of it; 15 % are
//! switches between tasks: from the call to the link's stream, there to the partition, and the same
//! way back.
//!
//! # Decisions
//!
//! **What does a view rest on?** On what every server of it says it holds, so a proposal first
//! *collects*: who answers promises to take no lower version, and tells which partitions it holds
//! completely as of which topology version. The table is made of that, prepared on all, and then
//! committed. Rejected: a table made from the last view and mended afterwards, since the last view
//! does not know who finished loading, and a node that missed a commit would be taken for an owner.
//!
//! **How do two histories meet?** A complete copy is complete as of one topology version. The
//! copies of the greatest version own the partition; any other is a *source*: it sends all it has
//! to the primary, which streams to the owners what it did not know, under its own versions, and
//! only then serves. The source drops its copy once all owners hold it, and loads anew if it shall
//! own the partition. A halted node that comes back takes the same way, so there is one mechanism
//! and not two. Rejected: fetching single keys on demand; a partition holds a thousandth of a
//! cache, is merged in milliseconds, and needs no second state for each of its keys.
//!
//! **How many writes of one key may be under way?** One, under FULL_SYNC: a write that meets a
//! pending one waits for it, whether it has a condition or not. So the committed state is the only
//! one that an operation is ever decided on. Rejected: a chain of pending states for each key, for
//! throughput on one hot key that tickets do not have.
//!
//! **What does a range tombstone leave behind?** One point in time for each partition. All that
//! was created at or before it is gone, also what arrives later from another history, so a cleared
//! key needs no tombstone of its own.
//!
//! **Where does the lease of a new view come from?** From the heartbeats before it: what a lease
//! says is that a peer heard this node a moment ago and had not let go of it, and that does not
//! change with a view that contains both. Only a proposal that leaves a peer out ends it.
//!
//! **Who is silent during a standstill?** The node that stood still. It forgets what it thought of
//! its peers' silence, and serves again only when each of them has confirmed its view or has been
//! found failed since.
//!
//! **How many writes did a PRIMARY_SYNC or FULL_ASYNC cache lose with a primary?** At most as many
//! as its log may hold for owners that have not acknowledged them (4,096 a partition): beyond that
//! it refuses writes. Rejected: counters in heartbeats, which say nothing of what was written after
//! the last one, so that no smaller bound follows from them.
//!
//! **Whom does a cluster that joins another have to reach?** Every server of it, since one that it
//! cannot reach would have it left out at once. Who was left out while it was alive waits until
//! those links have stood for five seconds; who stood still, or was cut off altogether, does not.
//!
//! **What voice has a client node?** None. It is told of views and never waited for, it asks to be
//! taken in again whenever no server of its view stands, and what it says of a view counts for
//! nobody: it may be the last of a cluster that is gone.
//!
//! **How does a node ask another one about itself?** (its counters, what it holds as a backup) By a
//! connection of its own for one question. It is asked seldom and by people, so it need not be
//! fast, and it must not stand in the queues of the links. Rejected: a kind of message on links,
//! which the engine would have to pass by, and calls to the public services of the peer, whose
//! certificates are for clients.
//!
//! **How does a client's watch resume without a double?** By what it has told since the last
//! checkpoint, known by partition, counter, kind, key and version: what comes again is left out,
//! and what should have been told before and was not means another history. Then, and where a
//! token is too old, it says OUT_OF_RANGE once and begins again with current entries. Rejected: a token
//! with every event, which would cost each of them the positions of all partitions.
//!
//! **Why does a near copy never show a value that was overwritten?** The primary grants a lease of
//! half a second with each answer that may be kept, tells the holders of every write, and commits
//! a FULL_SYNC write only when they have let go or the lease has ended. A new primary, which does
//! not know what the old one granted, commits nothing for that long. What has an idle time is not
//! kept, since each read of it counts. Rejected: copies for a fixed time, which show old values.
//!
//! **When is a read a write?** Where it moves the last access of an entry with an idle time, and the
//! owners' knowledge of that is older than half a batch: then all owners hold the access before it
//! is answered. Otherwise the loss of the node that answered would shorten the idle time. Later
//! reads within the half batch cost nothing. Rejected: a longer extension after a loss, which would
//! have to be as long as the idle time itself.
//!
//! **How many steps has a transaction?** Two that are waited for: *prepare* finds out what would come of
//! either branch and locks, *decide* records which it is. Conditions and operations of a participant are
//! evaluated at once, since the record says later which branch counts. A transaction of one partition
//! takes one. Rejected: locks first and operations afterwards, one more round for every transaction.
//!
//! **How is a rollback recorded?** Not at all, unless somebody asks who cannot wait: no record means
//! the same. Rejected: a record for each, which is dear exactly when there are many conflicts.
//!
//! **How does `GetMany` see a transaction whole?** By looking twice: what no key changed between was so
//! at one moment, and no key is read while a decided transaction has not finished there. So readers
//! lock nothing and write nothing. Rejected: locks for reads, and several versions of each value.
//!
//! **How does a server hand over?** The view names it as draining: placement then gives it nothing,
//! the owners to be load as at any change of nodes, and it leaves once no table names it. So a drain
//! outlives the loss of a coordinator and is undone by a restart, which is a new life. Where no
//! other server stays it is refused; one that drains alone after a split stays, since nobody has
//! what it has. From the moment it says that it leaves, it answers "ask another" at once.
//! Rejected: a transfer of its own for draining, beside the one that loading is.
//!
//! **How does a node join that finds only others than the coordinator?** It asks whoever told it
//! of the cluster; that one passes the request on, once, and the coordinator calls back. Every
//! server does so, and client nodes with `force-server-mode`; other client nodes tell nobody of
//! their cluster. Rejected: a list of all servers in each heartbeat, which grows with the cluster.
//!
//! **When may a partition's machine be made?** With its cache. An empty one is a few hundred
//! bytes; made on first use, each would have to be told apart from one that is lost.

pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod error;
pub mod node;
pub mod rpc;
pub mod service;
pub mod types;

/// A node that serves: the one to embed. See "A node in your own program" above.
pub use service::server::ServingNode as Node;
