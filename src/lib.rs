//! embergrid: a peer-to-peer distributed cache cluster.
//!
//! Nodes find each other from one address list, form a mesh over mutual TLS, spread the
//! partitions of their caches over the servers among them, and keep copies. Any node answers any
//! request. The parts, from the bottom up:
//!
//! * [`types`], [`error`], [`config`]: the vocabulary, what a caller should do about an error,
//!   and the settings. [`types::protocol`] says how a message between nodes is added.
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
//! to the rest of the cluster it is a node like any other. In a REPLICATED cache a server owns
//! everything. The exception is `read-from = primary`, the default under PRIMARY_SYNC: there a backup
//! forwards its reads to the primary. Any backup does so while it cannot tell what the key holds: under
//! FULL_SYNC while it is being written, and while a transaction has locked it.
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
//! Then the system calls were counted (`perf stat`, `perf record` on `writev`): each answer was sealed
//! and written by itself, 69 bytes at a time, also where thirty were ready together, since the runtime
//! runs a connection right behind the task that hands it something. So what is written is gathered
//! now while tasks are ready to run (`rpc::gather`), by nodes on all connections but control streams,
//! and by clients. That a partition is committed goes to its backups along with the next message
//! instead of in a frame of its own, and a plain read no longer takes the steps of a write. Measured
//! with and without the gathering, in turns, on two cores that were busy with other work (so
//! processor time, and no throughput); the floor runs on the same connections and fell as well:
//!
//! | processor time for a call, 32 callers, 1 KiB | before | gathered |
//! |---|---|---|
//! | get: node, floor; client | 25.1 µs, 21.4 µs; 21.5 µs | 16.3 µs, 13.9 µs; 16.1 µs |
//! | put: node, floor; client | 24.7 µs, 20.0 µs; 23.9 µs | 18.2 µs, 11.9 µs; 14.8 µs |
//! | put, REPLICATED, FULL_SYNC: both nodes; client | 77 µs; 35 µs | 62 µs; 23 µs |
//! | get of 64 B in a pipeline, 64 callers: node; client | – | 1.9 µs; 1.9 µs |
//!
//! Of the floor that gathers a get is 0.81 (seven rounds), a put 0.66, a replicated put 0.21: what they save has
//! been saved by the floor too, and what is left is ours. (Of the floor that did not gather, a get
//! would be 1.46.) A replicated put is the dear one.
//!
//! Then it was looked at once more, by the same profiles and by counting system calls. What was found,
//! and is gone:
//!
//! | what | where |
//! |---|---|
//! | a plain read made a key, a request and an answer of the engine, to be turned into a message: now it looks where the entry is and answers | get, pipelined get |
//! | TLS asked the socket for 4 KiB at a time, and once more to find nothing (`rpc::read_ahead`) | put, replicated put |
//! | short keys had memory of their own, fetched for every comparison and counted by every user (`types::Blob`) | all |
//! | three of six look-ups of the key in a write; what watchers would be told, where nobody watches | put |
//! | the message that a partition is committed went alone, since a wrapper of the engine's way out did not pass on that it may go along | replicated put |
//! | a timer of the exact microsecond for each partition that waits for an owner, each of which woke a thread: now they ring in steps, many together | replicated put |
//! | two data streams on two processors: half as much to gather on each | replicated put |
//!
//! One run afterwards, 11 rounds in turns, other work beside it as before (so processor time, no throughput):
//!
//! | what | processor time of the nodes for a call | the floor, of it |
//! |---|---|---|
//! | get of 1 KiB | 13.5 µs | 11.0 µs, 0.83 |
//! | put of 1 KiB | 14.5 µs | 9.5 µs, 0.65 |
//! | put, REPLICATED, FULL_SYNC, both of two nodes together | 49.4 µs | 9.5 µs, 0.19 |
//! | get of 64 B, 64 callers; in a pipeline | 10.5 µs; 1.7 µs | – |
//! | get in a program of its own, two threads | 0.52 µs | – |
//!
//! Each call is cheaper again, and the floor by as much, since most of what was found lay below both.
//! What is left above it is spread thin: no function has more than a few percent of its own, and
//! much of it is waiting for memory. With 100 keys instead of 10,000, all else equal, a get comes to
//! 0.87 of the floor and a put to 0.77, and a read in a program takes a quarter of the time: a put touches
//! its partition, its place in the table, the old value and the new one, the request id and its place
//! in time, and the floor touches none of these. So what is stored, and a partition itself, should become
//! smaller. A replicated put does that on two nodes, is taken in by the backup as two messages and
//! by the primary as one, each a piece of the engine and of protobuf; system calls are 1.9 for it
//! on both nodes together.
//!
//! Then the difference of two profiles was looked at, the node's and the floor's in one run, and the
//! messages of a replicated put. What was found, and is gone:
//!
//! | what | where |
//! |---|---|
//! | an update, its acknowledgement and its commit became structs of protobuf first, and these were counted once for each level of nesting: now they go straight to the same bytes, from the last to the first, and back (`rpc::codec::direct`) | replicated put |
//! | what a call reads of a partition lay in a dozen lines of memory, and a plain read asked eight questions: now it stands together, and a read looks at one note (`engine::partition`); indexes of tickets take no room where there are none | all |
//! | the table of request ids held the answers: now places of four bytes, and the answers stand in the order in which they came | put |
//! | the old value was fetched to see that it is no ticket | put |
//! | the time of a call travelled with the request, in two pieces of memory | get, put |
//! | keys of updates that wait were counted in a table, and callers stood in a tree, though there is mostly one of them; a lock of all links for each message | replicated put |
//!
//! Old and new program in turns, twice 7 rounds each, on two cores that were busy with other builds, so
//! both programs were given precedence; the floor was dearer by that (13 to 17 µs), and the ratios are
//! not those of a quiet machine:
//!
//! | what | before | after |
//! |---|---|---|
//! | put, REPLICATED, FULL_SYNC, 32 callers: both nodes; of the floor | 72.4 and 59.6 µs; 0.24 and 0.23 | 54.3 and 54.6 µs; 0.25 and 0.26 |
//! | get of 1 KiB, of the floor | 0.94 and 0.93 | 1.00 and 0.99 |
//! | put of 1 KiB, of the floor | 0.81 and 0.74 | 0.78 and 0.75 |
//!
//! A put gained nothing that could be told from noise: each line that is not fetched at one place (the
//! old value, to be looked at) is fetched at the next (to be freed). Of a replicated put the kernel now
//! takes a quarter (2.2 system calls on both nodes together: writing 9 %, waiting 6 %, waking 6 %,
//! reading 3 %), switching between tasks and threads a tenth, encoding and decoding on the links 7 %
//! (it was 11 %), the engine a fifth, memory for short-lived things 8 %, and the rest is
//! gRPC. There are six puts in a batch, with 16 callers on each node: fewer system calls need larger ones.
//!
//! A use of a service ticket beside a put, on three nodes (REPLICATED, FULL_SYNC), by samples of the nodes in
//! either phase of one run: 1.4 to 1.5 puts. No more messages pass between the nodes than for a put. What
//! was found, and is gone:
//!
//! | what | where |
//! |---|---|
//! | callers that wait together put their puts on one stream, and made a call of its own for each use | client, service |
//! | the first tombstone of a partition set a timer for at once, and woke a thread; looks at the floor come in steps now | engine |
//! | the settings of every cache of tickets were copied to find the one; the record once more for the answer | node |
//! | trees of terms were made to compare them, and a point kept twice for tickets without an idle time | index, each owner |
//! | the record was made of the stored bytes to look at some of it, and written again to count a use: now it is looked at in place (`types::ticket::stored`), and only the number changes | each owner, answer |
//! | the update of a use took the general way through protobuf, as its answer is a ticket | links |
//!
//! Before the last two it was 1.27 to 1.36 puts, afterwards 1.23 to 1.30. What is left is memory that a put
//! does not touch: of the three indexes that the ticket stands in, and of its session, on each owner.
//!
//! Last, a put was looked at by the difference of the two profiles once more, down to the instruction.
//! Nearly all that it costs above the floor is waiting for memory that is in no cache of the processor,
//! one place after the other. What was found, and is gone:
//!
//! | what | where |
//! |---|---|
//! | the program was linked crate by crate (`lto = "thin"`, four units for each), now as one: it is 2 MB smaller, and a build from nothing takes a third longer | all |
//! | a value was copied to memory that had been free for long, and the memory of the old one given back to where it lay: now it stays in the buffer that it came in until it is stored, and takes the memory of the one that it replaces, where that has the same length and nobody reads it (`types::Blob::lent`); what waits for other nodes is copied as before | put |
//! | some fifteen places that a write touches were fetched one by one: now they are looked at together before anything is decided (`engine::partition`, `reach`) | put |
//! | the next timer of a partition was the least of twelve points, found by a thousand instructions | put |
//! | the owners lay in memory of their own, to be asked which of them is the first; four queues of what is left to do for others, mostly empty, lay among what every call needs | put |
//!
//! Old and new program in turns, five runs of 7 rounds each, on a machine that did nothing else:
//!
//! | what | before | after |
//! |---|---|---|
//! | put of 1 KiB, processor time of the node | 18.1 to 19.3 µs | 15.6 to 17.2 µs |
//! | of the floor, which was linked as one too | 0.75 to 0.78 | 0.79 to 0.86, mostly 0.83 |
//!
//! How the program is linked is the larger part of it. What is left above the floor is the place of the old
//! value, which is found by three looks one behind the other, the copy of the new one over it, and the
//! lock of the partition.
//!
//! Tried since, and not kept, because nothing came of it that could be told from noise (programs in turns,
//! three or four runs of each; the gets are of 64 B in a pipeline of 256 callers, without link-time
//! optimisation):
//!
//! | what | with it | without |
//! |---|---|---|
//! | memory in huge pages: put of 1 KiB, and the node took 20 MB more | 16.3 to 17.5 µs | 15.1 to 16.5 µs |
//! | sixteen gets of a pipeline look at their partitions, entries and values together before the first is answered | 1.67 to 2.10 µs | 1.76 to 2.06 µs |
//! | the answers of a pipeline go to bytes without the structs of protobuf in between | 1.69 to 2.05 µs | 1.71 to 1.84 µs |
//!
//! **Memory that is given back.** With 10,000 sessions gone, a node kept 22 MB that nothing was in: a leaf of each
//! emptied tree, a table of each emptied map and a queue of each log, in a thousand partitions. Each lay on a
//! page of memory of its own by then, and kept all of it. What is empty lets go of all now, in the index at
//! once, elsewhere when the partition's timer rings: 1.6 MB stay. Behind 50,000 sessions 4 MB stayed in one run,
//! and 40 in another: what other threads freed of its pages the allocator finds only when it is asked for memory
//! often enough, and an idle node asks for little. So a worker of the program that comes to rest asks that often
//! every few seconds (`cli::idle_memory`): 2.7 MB stay.
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
//! only then serves. The source puts its copy aside once all owners hold it, and loads anew if it shall
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
//! **What does a source tell of transactions?** What its owners had confirmed, and nothing else: steps are
//! answered when all of them have, so the rest was told to nobody. Its keys may be others by now where
//! the history went on, and a transaction that was prepared on them as they were would be carried out there
//! against states that it never saw. Rejected: to keep what is prepared where its keys are still the same, which
//! finds them so for one participant and not for the next.
//!
//! **Where does the lease of a new view come from?** From the heartbeats before it: what a lease
//! says is that a peer heard this node a moment ago and had not let go of it, and that does not
//! change with a view that contains both. Only a proposal that leaves a peer out ends it.
//!
//! **When is something that was written handed to the system?** When the thread has nothing else to run.
//! Rejected: at once, which costs a system call and a TLS record for each answer; after a time,
//! which makes one caller alone wait; a runtime for each processor, which halves the switches but
//! serves few connections by few processors.
//!
//! **What becomes of two caches of one name with different settings?** Nothing: who asks to join with
//! one is not taken in, be it a node by its file (hello says what the cluster has) or half of a cluster
//! that made it during a split (told when it is collected). Rejected: that the larger half's settings count,
//! which ends the other's entries without a word; to compare the catalogues of two clusters in hello
//! already, which does not know what was dropped and made anew.
//!
//! **How long is a lease where settings differ?** As long as the shortest in the view, which is below the
//! `ack-timeout` of each of its servers; who judges that somebody is left out waits for the lease of the view
//! that he was in. Rejected: to refuse such a node, since timeouts could be changed with all nodes down only.
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
//! **Whom does a view go on with where some servers do not reach each other?** With the largest set that all
//! reach each other, and its oldest proposes it. A node knows whom it cannot reach itself, whom others
//! reach of those (they are asked while it suspects a peer), and who told it of peers that it cannot reach.
//! By that each judges whether it is in the set; whoever is not waits for those who are, for a bounded
//! time, and then proposes without those that it cannot reach. So two that do not reach each
//! other do not race for the rest. Rejected: the coordinator decides by its own links, which throws twenty out
//! where it is the coordinator that should go; a coordinator that proposes a view without itself, which
//! would have to promise what it does not install.
//!
//! **Who leaves out a source that keeps a merge waiting?** Nobody: the partition is refused until the source
//! has handed over, or is out. The specification would leave out whoever makes no progress for
//! `network-timeout`, but no node can tell slow from stuck there: all transfers of a node share one bound, so
//! that with many partitions most of them wait for their turn with nothing on its way; a primary has no room
//! for a piece while an owner is slow, which is no fault of the source; and a node that was left out for
//! being slow returns after five seconds to begin the same merge from its first key, so that a large
//! one would never end, and each turn changes the view twice for all caches. A link whose peer takes
//! nothing for `socket-timeout` ends by itself, data or control, and what was on it is sent again. What would
//! be sound is not built: a source that says, once a second, that it lives and how far it is with
//! what waits for it, so that silence, and not slowness, would be the reason.
//!
//! **What does a node hand on of what it does not know?** Nothing: a field that a later version added is gone from all
//! that a node of the version before writes. So what is stored gets new fields only once every server of the
//! view speaks the version that has them, as new kinds of updates do, and that is asked of the view itself.
//! (Which protocol a node speaks is such a field of a view: whoever proposes one takes it from hello.) Rejected: to keep what is not known beside each message, entry
//! and answer and write it out again; it would be memory for each entry, and a node that changes an
//! entry without knowing all of it cannot know whether what it keeps of it is still true.
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
//! **When is a watch of tickets told of a gap?** When it has begun again: nothing that happens
//! behind that word is left out, so whoever lists what lives then has missed nothing. It tells no
//! current tickets by itself, for most who watch want ends alone. Rejected: to say it first, as the
//! watch of a cache does, which would leave what happens between the list and the new watch untold.
//!
//! **How does a client find the owner of a ticket?** By its kind: nodes tell with the catalogue of
//! caches which kinds each of them holds. Without a kind, where there are several caches, and where
//! digests stand for ids, any node is asked. Rejected: a digest key for clients, to save a forward.
//!
//! **What does a second copy of a forwarded write find?** The id of its sending, which the primary knows,
//! with a request id or without: a refusal is remembered under no request id, and a use that was told
//! NOT_FOUND must not spend the ticket that is added a moment later. Rejected: to stream refusals to the
//! owners, a write for each of them, and none could be kept where a partition is overloaded.
//!
//! **Which errors of tickets are answers?** Those that the registry gives (NotFound, WrongKind with
//! the true kind, ParentGone, Removed, Conflict): each is a variant of its own, and Unknown another,
//! so that nobody takes a ticket for refused that may have been used. The true kind travels as the
//! detail of the error, so that no client reads it out of a text.
//!
//! **Why does a near copy never show a value that was overwritten?** The primary grants a lease of
//! half a second with each answer that may be kept, tells the holders of every write, and commits
//! a FULL_SYNC write only when they have let go or the lease has ended. A new primary, which does
//! not know what the old one granted, commits nothing for that long. What has an idle time is not
//! kept, since each read of it counts. Rejected: copies for a fixed time, which show old values.
//!
//! **Who gets the memory for near copies?** Whoever is read. A copy goes at the end of its lease, so
//! all room is given anew every half second. Rejected: one list of all copies of a cache, whose lock
//! every read of one would take; a share for each partition, of which most would lie idle.
//!
//! **Who looks host names up?** A thread for each name that is being looked up, which outlives whoever
//! asked: the system's resolver blocks and cannot be stopped, and of a few threads those names that
//! hang would take all. Rejected: a resolver of our own, which would not know what the system's does.
//!
//! **Whom does a node that stops wait for?** Calls that are open, until `drain-time`. A connection
//! without one is told to end and has a second to answer, so that a request on its way is not lost;
//! one whose client has said nothing of HTTP/2 is closed at once. Rejected: HTTP/2's own orderly end
//! alone, which waits for ever for an answer of a client that is gone.
//!
//! **Whose clock is astray?** That of the node which differs from most servers of its view, whatever
//! the round trips hide; of as many on both sides, of who does not agree with the coordinator.
//! Rejected: whoever differs from anybody, by which one bad clock would make every node unhealthy.
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
//! **What is a transaction of several calls until it commits?** Nothing but what its node keeps: the
//! values that it saw with their versions, and what it wrote. `Commit` is then one transaction of one
//! call, whose conditions are those versions, so it has one protocol and one proof. Locks at access are
//! kept by the primary alone and are an aid: a lock that is lost costs a commit, never a promise.
//! Rejected: locks that are streamed to the backups, a message to every owner for each access.
//!
//! **What does REPEATABLE_READ check at commit?** All that was read, as SERIALIZABLE does. Checking only
//! what is written too, as others do, finds lost updates and not read skew. Rejected: that, and several
//! versions of each value.
//!
//! **When does a transaction learn that it has seen half of another?** At its commit, which it then does not
//! do: that transactions are seen whole is promised of those that commit. Rejected: to look at all that was
//! read before at each further read, a message to every participant for each; and several versions of each value.
//!
//! **What becomes of a record whose cache is dropped?** It goes with it, and who asks for it rolls back: locks
//! end, and in the worst case, where the initiator is gone as well, one transaction is done in part. Rejected: to
//! drop only when all records have been fetched, for which a view would wait for transactions; a copy of the
//! decision at each participant, one more round for every transaction; and to wait for the initiator, which
//! may itself wait for the record.
//!
//! **When does the client run a transaction again?** Where nothing of it was done: on a conflict, and
//! where the node that kept it is gone before the commit was asked for. A commit without an answer is
//! asked for again at that node, which remembers its end; where it cannot be learned, it is "unknown".
//! A call within is sent twice only where the node said that it was not carried out: a second increment
//! would count. Rejected: request ids for such calls, a memory for what nobody may ever see; and
//! to hand conflicts to the user, who would write the same loop.
//!
//! **Where does a transaction of the client begin?** With its first call, at an owner of the key of
//! that. Rejected: at the node that the client happens to be connected to, one for all transactions.
//!
//! **What is a named lock?** An entry with an expiry, under a key that no caller may have, in a FULL_SYNC cache: so
//! a grant is a write, and fail-over, transfer, merge and expiry know nothing of locks. Who waits is parked
//! like anything else that waits in a partition, at the primary alone, so the line forms anew when that is
//! lost. Rejected: a queue that is replicated, a write for each who comes and goes, for an order that nobody is
//! promised; the locks of transactions, which end with their initiator and are taken away by age.
//!
//! **What is a fencing token made of?** The version of the granting write: the number of the view above, the
//! counter of the partition's writes below. Both only rise while one owner lives, so the token does, though
//! the entry of the lock is long gone; and a partition that begins anew has a later view. Rejected: a number in
//! the entry, which would have to stay for ever; cluster time, which is another one after clusters meet.
//!
//! **Who grants a lock early where clocks differ?** Nobody: its entry outlives the lease by `clock_error_max`, for
//! which it can be renewed and not taken.
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
//! **How does a part of the cluster know that it is the majority?** By the servers of the last primary
//! view, and of every later one that may have been committed unseen; `engine::membership::quorum` has
//! the argument. Rejected: a fixed majority of `quorum-of`, with which five servers that have lost two,
//! one after the other, stop at the next; and a log of views under consensus, beside the two phases.
//!
//! **What waits for the lease of who is left out?** Only caches that stop in a minority, at each node,
//! from the installation of the view on. Rejected: a commit that waits, since all other caches of the
//! cluster would wait with it.
//!
//! **What does a copy count for that was left out?** Nothing while a server may be out that has more,
//! in caches that stop in a minority: its partition is Lost until that one returns or has surely ended.
//! Rejected: the best copy at hand, which shows what was overwritten.
//!
//! **What holds a partition that begins in a view of whose commit its owners never hear?** They do: an
//! owner that has acknowledged the first primary view tells of an empty copy as of it, and gets one with
//! the next view that it installs, where every write waits for all owners. Rejected: that who committed the view says what began in it; it would
//! have to know what its owners did since, and they know that themselves.
//!
//! **What becomes of a copy that others have gone beyond?** It lies aside until the partition has all its owners,
//! and counts where no other copy is left and nobody is out who may have more: a server that missed a view
//! acknowledged what it holds, and whoever it loads from may end first. What was loaded by then goes into it, so
//! that no remove is forgotten that reached this node. Memory is taken twice for as long as a load takes, and
//! counted. Since no two such copies are alike, one owns the partition and others are merged into it. Rejected: to
//! drop it, as was done, by which a single restart lost acknowledged writes; to load into it, since what
//! others removed and have forgotten would stay.
//!
//! **Which load counts in a later view?** One whose receiver the primary has sent every update since, and that is
//! what the primary knows: in each view it repeats the last piece, without contents, to those it goes on with,
//! until that is acknowledged, and begins another load for the others. Until it has heard so, an owner to be says
//! of its copy that it may be behind. Rejected: the same primary is enough (it may have gone on without the receiver
//! for a view); to load anew in every view, which never ends where a thousand partitions load and the end of
//! each makes a view; a view that follows by number, since numbers are skipped.
//!
//! **Who is known to be out?** Whoever any server of the proposed view knows to be so, and whoever is in a view of
//! one of them in which the proposer was not, or which it has not reached. Where the proposer was in that view it
//! is not told: it may know that the absent one has left since.
//!
//! **How is sent again what a peer does not acknowledge?** A message at a time, which goes on when the peer
//! says that it has it, and to one that stays silent after one turn of the timer, two, four, up to sixteen: it may
//! stand still, and what is queued for it then is all of one size. Rejected: all that it misses at every turn.
//!
//! **What is read where a part allows reads only?** What each owner had committed when it was cut off.
//! Nothing is streamed, loaded or expired there, so that nothing has to be undone when the parts meet.
//!
//! **How do owners compare their copies without looking at them?** Each keeps, with every change,
//! the wrapping sum of a digest of each state: two digests of a hundred bytes for a write. The
//! primary tells its sum at one place of the stream, so that what is under way is no difference,
//! and an owner whose sum is equal is silent. Points in time are left out, since each node moves
//! them by its own measure when clusters meet; so are the bytes of values, which their versions
//! stand for; `Verify` reads those. Rejected: a tree of digests kept with every change; it would
//! only be read where something is wrong, and a scan is good enough then.
//!
//! **Who is right where copies differ?** The order of states, and where one of them knows nothing of
//! a key, the primary: it decided all that the others hold. What it lacks is taken over from another
//! owner only if its remove would still be remembered. So a fault on a primary may cost an old
//! entry, counted, and none brings back what was removed: a session that is lost is begun again, and
//! one that returns after it was ended is a hole. A repair is an update of the stream like any other.
//!
//! **What had two copies in common, days after they parted?** What each remembers of the moment: the
//! last place up to which all holders held everything, noted for each holder when it leaves and
//! handed on to owners that load. The later of the two memories counts, since both are true. An
//! entry up to there that one side lacks was removed by it, if that side has dropped tombstones since:
//! in both directions. Rejected: one such place for all, which agreements of the rest would move
//! past what the absent one knew, so that its own new entries would be taken for removed ones.
//! A life whose time is over leaves no tombstone. So that none begins again to end again, it is noted as
//! well how far the history of the two went in their last view, whoever else was out by then, with what
//! of it comes late: a source that has gone no further knows nothing new.
//!
//! **Where are the children of a ticket kept?** Each as an entry of its own, a *link*, in the partition of the
//! parent, under a key that no id may have; principals that ended stand beside them in the same way. So
//! replication, fail-over, transfer and merge carry them as they carry tickets, and two halves that gave a
//! parent different children merge to both. Rejected: a list in the parent's entry, which each child would
//! write anew with the parent's payload, and of which a merge would drop one half.
//!
//! **Who finishes a delete?** Whoever began it, and if it does not, the primary of the parent: a link whose
//! parent does not live is work to do, wherever it came from. That one rule covers a node that died in the
//! middle, a parent whose time was over, and a delete that arrives by a merge. A child that comes behind its
//! parent's delete finds a tombstone under its id, and one that comes later than any tombstone stays is
//! refused. Rejected: a record of deletes under way, a second state beside the entries that could
//! contradict them.
//!
//! **What becomes of what a spent ticket granted?** It goes on, and ends with the session: it has a link at the
//! nearest ancestor without a limit of uses as well, and the links of a ticket that is spent go with it.
//! Rejected: ending it, since a service ticket is spent while the proxy-granting ticket that it is the
//! origin of is needed.
//!
//! **Who sees to it that a session was not idle for too long, where a ticket of it is asked for?** Whoever
//! decides about the ticket. With its end it knows until when its session lives for certain: the idle point
//! that the session had when the ticket was added, which only moves out. Past that, and only then, the
//! session is asked first, and what that descends from in its turn. So a service ticket, which is used
//! within seconds, costs nothing more. Besides, a ticket whose time is over has its descendants removed at
//! once, for lists and counts. Rejected: to move that point with every use of the session, a write to each
//! of its tickets; and to let the removal alone do it, which waits where a primary does.
//!
//! **And where an update brings the end of a session nearer?** All that descends from it is told, down
//! the links, before the update is answered: a write to each of its tickets, for what is done seldom. A
//! child that is on its way finds where it was to be stored that it comes too late, and registers
//! again. If the node that was asked dies in the middle, the caller hears that the outcome is unknown and
//! repeats it; until then some tickets go with their session only when that is removed. Rejected: a
//! ticket that always asks above, which each read of it would pay for; a mark in the session until all
//! know, a state between living and ending for what a repeated request does as well.
//!
//! **Why do calls on keys not write over tickets?** Since they know neither what descends from one nor who
//! counts its uses. It is the entry that refuses, whatever its cache: a cache may hold both.
//!
//! **When does the end of a principal leave a range tombstone?** In partitions that hold tickets of it, until all
//! servers have had it for a while, and in every partition while a server is out that may return with
//! tickets. Otherwise it costs a look at each index. Its bound is 4,096 for each partition; more are
//! refused: none is forgotten early. Rejected: one in every partition for each logout.
//!
//! **What does the use of a ticket do to its version?** Nothing: a use is no update that another one could lose,
//! and `expected_version` is about updates. **And to the session at its root?** It is an access, by
//! what every owner is told of the use anyway: each that is given the use moves the last access in its
//! own copy of the session, so no message goes out for it, and it is lost with the use only. Where
//! not every owner of the session is one of the ticket, the ticket's primary sends a touch behind the
//! use. Rejected: a touch behind every use, which where the session was not used a moment before is a
//! replicated write of its own; and touches in batches alone, by which the death of one node would take
//! from a session all the time since it was used before.
//!
//! **Which calls on tickets share a stream of the client?** Those that read or use one ticket, on the stream
//! that calls on keys share (`CacheService.Pipeline`): a sign-on server makes them for every page that its
//! users open, and of callers that wait together each would pay for a call of its own. What is asked
//! of one ticket is answered in order. Rejected: a pipeline of the `TicketService`, a second stream on each
//! connection, whose frames would not go together with those of the first; other calls on tickets, which
//! are seldom and take several steps anyway.
//!
//! **When is the cache of tickets made?** With the first ticket, where no settings name it: a cluster without
//! tickets pays nothing for them. Rejected: always, a thousand partitions that most tests and many users
//! would never fill.
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
