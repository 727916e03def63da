//! Which nodes own a key: the partition table as the cluster told it last. It is advice: any node
//! answers any request, so a table that is behind costs a forward and nothing else.

use super::nodes::Address;
use crate::rpc::proto as pb;
use crate::types::cache::partition_of;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// How many caches are routed; calls on any further one go to any node.
const CACHES_MAX: usize = 1_024;

/// Where a call belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// To no single key: any node.
    Anywhere,
    /// To a key of a cache, by the bytes that its partition is chosen by.
    Key(&'a str, &'a [u8]),
    /// To a ticket, of a kind (empty: not known) and an id.
    Ticket(&'a str, &'a [u8]),
}

/// What a call is about.
pub(super) trait Keyed: Clone {
    /// Where it belongs.
    fn place(&self) -> Place<'_> {
        Place::Anywhere
    }
}

macro_rules! keyed {
    ($($request:ident),* $(,)?) => {$(
        impl Keyed for pb::$request {
            fn place(&self) -> Place<'_> {
                let by = if self.affinity_key.is_empty() {
                    &self.key
                } else {
                    &self.affinity_key
                };
                Place::Key(&self.cache, by)
            }
        }
    )*};
}

macro_rules! ticket {
    ($($request:ident: $kind_and_id:expr),* $(,)?) => {$(
        impl Keyed for pb::$request {
            fn place(&self) -> Place<'_> {
                let of: fn(&Self) -> Option<(&str, &[u8])> = $kind_and_id;
                of(self).map_or(Place::Anywhere, |(kind, id)| Place::Ticket(kind, id))
            }
        }
    )*};
}

macro_rules! anywhere {
    ($($request:ident),* $(,)?) => {$(
        impl Keyed for pb::$request {}
    )*};
}

keyed!(
    GetRequest,
    PutRequest,
    RemoveRequest,
    TouchRequest,
    ModifyRequest
);

anywhere!(
    ScanRequest,
    SizeRequest,
    ClearRequest,
    WatchRequest,
    TopologyRequest,
    WatchTopologyRequest,
    PartitionTableRequest,
    CreateCacheRequest,
    DescribeCacheRequest,
    ListCachesRequest,
    DropCacheRequest,
    DrainRequest,
    SafeToStopRequest,
    VerifyRequest,
    NodeStatsRequest,
    ListTransactionsRequest,
    EndTransactionRequest,
    ResetLostPartitionsRequest,
    ForgetNodeRequest,
    ForcePrimaryRequest,
    AddTicketsRequest,
    DeleteAllTicketsRequest,
    DeleteForPrincipalRequest,
    ListTicketsRequest,
    CountTicketsRequest,
    WatchTicketsRequest,
);

ticket!(
    AddTicketRequest: |add| add.ticket.as_ref().map(|ticket| (&*ticket.kind, &*ticket.id)),
    UpdateTicketRequest: |update| update.ticket.as_ref().map(|ticket| (&*ticket.kind, &*ticket.id)),
    GetTicketRequest: |get| Some((&get.kind, &get.id)),
    UseTicketRequest: |one| Some((&one.kind, &one.id)),
    DeleteTicketRequest: |delete| Some(("", &delete.id)),
);

macro_rules! lock {
    ($($request:ident),* $(,)?) => {$(
        impl Keyed for pb::$request {
            fn place(&self) -> Place<'_> {
                Place::Key(crate::types::lock::CACHE, self.name.as_bytes())
            }
        }
    )*};
}

lock!(LockRequest, RenewRequest, UnlockRequest);

/// The owners of one partition, the primary first.
type Owners = Arc<[Address]>;

/// Where the keys of one cache are.
#[derive(Clone, Debug, Default)]
struct CacheTable {
    /// By partition; empty where the cache is not routed (LOCAL, or unknown).
    owners: Vec<Owners>,
    /// Whether each key of a batch is for itself.
    atomic: bool,
}

/// In which caches the tickets of which kinds are.
#[derive(Debug, Default)]
struct Kinds {
    caches: HashMap<String, Arc<str>>,
    /// The one cache that has all of them.
    only: Option<Arc<str>>,
}

/// The table and what is wanted of it.
#[derive(Debug, Default)]
pub(super) struct Routes {
    tables: ArcSwap<HashMap<String, CacheTable>>,
    nodes: ArcSwap<Vec<Address>>,
    /// Absent until it was asked for.
    kinds: ArcSwapOption<Kinds>,
    wanted: Mutex<Wanted>,
    /// Told when another cache is wanted.
    pub(super) more_wanted: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Caches that were called once. Whoever calls once only needs no table.
    called: HashSet<String>,
    /// Caches whose tables are kept.
    kept: HashSet<String>,
    /// Whether a ticket was called once whose cache is not known.
    ticket_called: bool,
    /// Whether the caches of tickets are kept.
    kinds: bool,
    follower: Option<AbortHandle>,
}

impl Routes {
    /// The owners of a key, the primary first; none where they are not known (yet).
    pub(super) fn owners(&self, cache: &str, by: &[u8]) -> Option<Owners> {
        let tables = self.tables.load();
        tables.get(cache)?.owners(by).cloned()
    }

    /// Who a key of a batch may go to by itself: its primary, in an ATOMIC cache.
    pub(super) fn owner_if_atomic(&self, cache: &str, by: &[u8]) -> Option<Address> {
        let tables = self.tables.load();
        let table = tables.get(cache).filter(|table| table.atomic)?;
        table.owners(by)?.first().cloned()
    }

    /// All nodes of the last view.
    pub(super) fn nodes(&self) -> Arc<Vec<Address>> {
        self.nodes.load_full()
    }

    /// Notes a call on a cache without a table. From the second one on the table is kept, by the
    /// task that `follow` starts.
    pub(super) fn want(&self, cache: &str, follow: impl FnOnce() -> AbortHandle) {
        if self.tables.load().contains_key(cache) {
            return;
        }
        let mut wanted = self.wanted.lock();
        if wanted.kept.contains(cache) || wanted.kept.len() >= CACHES_MAX {
            return;
        }
        if wanted.called.remove(cache) {
            wanted.kept.insert(cache.to_owned());
            self.more_wanted.notify_one();
            if wanted.follower.is_none() {
                wanted.follower = Some(follow());
            }
        } else if wanted.called.len() < CACHES_MAX {
            wanted.called.insert(cache.to_owned());
        }
    }

    /// The cache of tickets of a kind, where that is known; of any, where the kind is empty and all
    /// are in one.
    pub(super) fn ticket_cache(&self, kind: &str) -> Option<Arc<str>> {
        let kinds = self.kinds.load();
        let kinds = kinds.as_ref()?;
        let own = kinds.caches.get(kind);
        own.or(kinds.only.as_ref().filter(|_| kind.is_empty()))
            .cloned()
    }

    /// Notes a call on a ticket without a known cache. From the second one on, the caches of all
    /// kinds are kept by the task that `follow` starts.
    pub(super) fn want_kinds(&self, follow: impl FnOnce() -> AbortHandle) {
        if self.kinds.load().is_some() {
            return;
        }
        let mut wanted = self.wanted.lock();
        if !wanted.ticket_called {
            wanted.ticket_called = true;
        } else if !wanted.kinds {
            wanted.kinds = true;
            self.more_wanted.notify_one();
            if wanted.follower.is_none() {
                wanted.follower = Some(follow());
            }
        }
    }

    /// Whether the caches of tickets are to be kept.
    pub(super) fn wants_kinds(&self) -> bool {
        self.wanted.lock().kinds
    }

    /// Learns in which caches tickets are.
    pub(super) fn learn_kinds(&self, caches: &[pb::CacheDescription]) {
        let mut kinds = Kinds::default();
        let mut names = HashSet::new();
        for cache in caches.iter().filter(|cache| !cache.ticket_kinds.is_empty()) {
            let Some(settings) = &cache.settings else {
                continue;
            };
            let name: Arc<str> = settings.name.as_str().into();
            names.insert(Arc::clone(&name));
            // Under a digest the partition cannot be told from the id: any node is asked.
            if !cache.ticket_ids_digested {
                let kinds_of = cache.ticket_kinds.iter().cloned();
                kinds
                    .caches
                    .extend(kinds_of.map(|kind| (kind, Arc::clone(&name))));
            }
        }
        if names.len() == 1 && !kinds.caches.is_empty() {
            kinds.only = names.into_iter().next();
        }
        self.kinds.store(Some(Arc::new(kinds)));
    }

    /// The caches whose tables are kept.
    pub(super) fn kept(&self) -> Vec<String> {
        self.wanted.lock().kept.iter().cloned().collect()
    }

    /// Learns the table of a cache; without one (it does not exist) its calls go to any node.
    pub(super) fn learn(
        &self,
        cache: &str,
        answer: Option<pb::PartitionTableResponse>,
        known: impl Fn(&str) -> Option<Address>,
    ) {
        let table = answer.map_or_else(CacheTable::default, |answer| {
            let nodes: Vec<Option<Address>> = answer
                .nodes
                .iter()
                .map(|node| known(&node.address))
                .collect();
            self.nodes
                .store(Arc::new(nodes.iter().flatten().cloned().collect()));
            table_of(cache, answer, &nodes)
        });
        let mut tables = HashMap::clone(&self.tables.load());
        tables.insert(cache.to_owned(), table);
        self.tables.store(Arc::new(tables));
    }
}

impl CacheTable {
    fn owners(&self, by: &[u8]) -> Option<&Owners> {
        let partition = partition_of(by, u32::try_from(self.owners.len()).ok()?);
        self.owners.get(partition as usize)
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        if let Some(follower) = self.wanted.get_mut().follower.take() {
            follower.abort();
        }
    }
}

fn table_of(
    cache: &str,
    answer: pb::PartitionTableResponse,
    nodes: &[Option<Address>],
) -> CacheTable {
    let found = answer.caches.into_iter().find(|found| found.name == cache);
    // Few lists of owners are shared by many partitions.
    let mut shared: HashMap<Vec<u32>, Owners> = HashMap::new();
    let found = found.unwrap_or_default();
    let atomic = found.atomicity_mode() == pb::AtomicityMode::Atomic;
    let owners_of = |partition: pb::partition_table_response::Partition| {
        let places: Vec<u32> = partition
            .primary
            .into_iter()
            .chain(partition.backups)
            .collect();
        let owners = shared.entry(places).or_insert_with_key(|places| {
            let found = places.iter().filter_map(|&place| nodes.get(place as usize));
            found.flatten().cloned().collect()
        });
        Arc::clone(owners)
    };
    CacheTable {
        owners: found.partitions.into_iter().map(owners_of).collect(),
        atomic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::partition_table_response::{Cache, Partition};

    fn answer() -> pb::PartitionTableResponse {
        let node = |address: &str| pb::Node {
            address: address.to_owned(),
            ..pb::Node::default()
        };
        let partition = |primary, backups: &[u32]| Partition {
            primary,
            backups: backups.to_vec(),
            ..Partition::default()
        };
        pb::PartitionTableResponse {
            nodes: vec![node("a:1"), node("b:2"), node("nowhere")],
            caches: vec![Cache {
                name: "c".to_owned(),
                partitions: vec![
                    partition(Some(1), &[0]),
                    partition(Some(2), &[0]),
                    partition(None, &[]),
                ],
                ..Cache::default()
            }],
            ..pb::PartitionTableResponse::default()
        }
    }

    fn told(text: &str) -> Address {
        Address::told(text).expect("an address")
    }

    #[test]
    fn a_key_finds_its_owners_and_a_bad_address_is_passed_over() {
        let routes = Routes::default();
        routes.learn("c", Some(answer()), Address::told);
        let mut seen = HashSet::new();
        for number in 0..100u32 {
            let key = number.to_le_bytes();
            let owners = routes.owners("c", &key).expect("it is known");
            let partition = partition_of(&key, 3);
            let expected = match partition {
                0 => vec![told("b:2"), told("a:1")],
                1 => vec![told("a:1")],
                _ => vec![],
            };
            assert_eq!(owners.to_vec(), expected);
            seen.insert(partition);
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(routes.nodes().len(), 2);
        assert_eq!(routes.owner_if_atomic("c", &0u32.to_le_bytes()), None);
    }

    #[test]
    fn the_affinity_key_stands_in_for_the_key() {
        let request = pb::GetRequest {
            cache: "c".to_owned(),
            key: "k".into(),
            affinity_key: "a".into(),
            ..pb::GetRequest::default()
        };
        assert_eq!(request.place(), Place::Key("c", b"a"));
    }

    #[test]
    fn a_ticket_is_in_the_cache_of_its_kind() {
        let cache = |name: &str, kinds: &[&str], digested| pb::CacheDescription {
            settings: Some(pb::CacheSettings {
                name: name.to_owned(),
                ..pb::CacheSettings::default()
            }),
            ticket_kinds: kinds.iter().copied().map(str::to_owned).collect(),
            ticket_ids_digested: digested,
            ..pb::CacheDescription::default()
        };
        let routes = Routes::default();
        assert_eq!(routes.ticket_cache("TGT"), None, "nothing is known yet");
        let plain = cache("pages", &[], false);
        let sessions = cache("sessions", &["TGT", "PGT"], false);
        routes.learn_kinds(&[plain.clone(), sessions.clone()]);
        assert_eq!(routes.ticket_cache("PGT").as_deref(), Some("sessions"));
        assert_eq!(routes.ticket_cache("").as_deref(), Some("sessions"));
        assert_eq!(routes.ticket_cache("ST"), None);
        routes.learn_kinds(&[plain.clone(), sessions, cache("single", &["ST"], false)]);
        assert_eq!(routes.ticket_cache("ST").as_deref(), Some("single"));
        assert_eq!(routes.ticket_cache(""), None, "it may be in either");
        routes.learn_kinds(&[plain, cache("tickets", &["TGT", "ST"], true)]);
        assert_eq!(
            routes.ticket_cache("TGT"),
            None,
            "a digest tells no partition"
        );
        assert_eq!(routes.ticket_cache(""), None);
    }

    #[tokio::test]
    async fn the_caches_of_tickets_are_asked_for_once() {
        let routes = Routes::default();
        let started = std::cell::Cell::new(0);
        for calls in 1..5 {
            routes.want_kinds(|| {
                started.set(started.get() + 1);
                tokio::spawn(async {}).abort_handle()
            });
            assert_eq!(routes.wants_kinds(), calls > 1);
        }
        assert_eq!(started.get(), 1);
    }

    #[tokio::test]
    async fn the_second_call_on_a_cache_asks_for_its_table_once() {
        let routes = Routes::default();
        let started = std::cell::Cell::new(0);
        let follow = || {
            started.set(started.get() + 1);
            tokio::spawn(async {}).abort_handle()
        };
        routes.want("c", follow);
        assert!(routes.kept().is_empty());
        routes.want("c", follow);
        routes.want("c", follow);
        routes.want("d", follow);
        routes.want("d", follow);
        assert_eq!((routes.kept().len(), started.get()), (2, 1));
        routes.learn("c", None, Address::told);
        assert_eq!(routes.owners("c", b"k"), None, "it does not exist");
    }
}
