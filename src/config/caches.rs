//! `[[caches]]`: the caches that exist from the start, and what any cache's settings must keep
//! to, whether they come from a file or from a call.

use super::given::{Reader, Report};
use super::problem::Origin;
use super::source::GivenCache;
use super::tickets::{TicketSettings, check_cache};
use crate::types::{
    AtomicityMode, CacheMode, CacheSettings, Micros, PartitionLoss, ReadFrom, WhenSplit,
    WriteSynchronizationMode,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest name of a cache, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The bounds of `partitions`.
pub const PARTITIONS: RangeInclusive<u32> = 1..=65_536;
/// The most copies beside the primary.
pub const BACKUPS_MAX: u32 = 63;
/// The largest `near-cache-max-size`, in bytes.
pub const NEAR_BYTES_MAX: u64 = 1 << 40;
/// The bounds of `entry-max-size`, in bytes.
pub const ENTRY_BYTES: RangeInclusive<u64> = 1..=16 << 20;
/// The bounds of `request-id-window`.
pub const REQUEST_ID_WINDOW: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);
/// The bounds of `tombstone-retention`.
pub const TOMBSTONE_RETENTION: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600);
/// The bounds of `time-to-live` and `time-to-idle`.
pub const TIME_TO_LIVE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=super::duration::DURATION_MAX;
/// The most attributes in a node filter.
pub const FILTER_MAX: usize = 16;

/// What a cache's settings do not keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting in kebab-case.
    pub setting: &'static str,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub cure: String,
}

/// Checks settings wherever they come from; no faults, no objections.
pub fn faults(settings: &CacheSettings) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut expect = |fits: bool, setting, what: &str, cure: String| {
        if !fits {
            faults.push(Fault {
                setting,
                what: what.to_owned(),
                cure,
            });
        }
    };
    let name_fits = (1..=NAME_BYTES_MAX).contains(&settings.name.len())
        && !settings.name.chars().any(char::is_control);
    expect(
        name_fits,
        "name",
        "empty, too long or with control characters",
        format!("give the cache a name of 1 to {NAME_BYTES_MAX} bytes"),
    );
    expect(
        PARTITIONS.contains(&settings.partitions),
        "partitions",
        "out of bounds",
        format!("write {} to {}", PARTITIONS.start(), PARTITIONS.end()),
    );
    expect(
        settings.backups <= BACKUPS_MAX,
        "backups",
        "out of bounds",
        format!("write 0 to {BACKUPS_MAX}"),
    );
    expect(
        ENTRY_BYTES.contains(&settings.entry_bytes_max),
        "entry-max-size",
        "out of bounds",
        "write 1 byte to 16MiB".to_owned(),
    );
    expect(
        settings.near_bytes_max <= NEAR_BYTES_MAX,
        "near-cache-max-size",
        "out of bounds",
        "write 1TiB at most".to_owned(),
    );
    expect(
        settings.node_filter.len() <= FILTER_MAX,
        "node-filter",
        "too many attributes",
        format!("{FILTER_MAX} at most"),
    );
    faults.extend(duration_faults(settings));
    faults
}

fn duration_faults(settings: &CacheSettings) -> impl Iterator<Item = Fault> {
    let durations = [
        ("time-to-live", settings.time_to_live, TIME_TO_LIVE),
        ("time-to-idle", settings.time_to_idle, TIME_TO_LIVE),
        (
            "tombstone-retention",
            Some(settings.tombstone_retention),
            TOMBSTONE_RETENTION,
        ),
        (
            "request-id-window",
            Some(settings.request_id_window),
            REQUEST_ID_WINDOW,
        ),
    ];
    let bad = durations.into_iter().filter(|(_, micros, bounds)| {
        micros.is_some_and(|micros| !bounds.contains(&Duration::from_micros(micros)))
    });
    bad.map(|(setting, _, bounds)| {
        let least = super::duration::show(*bounds.start());
        let most = super::duration::show(*bounds.end());
        let (what, cure) = (
            "out of bounds".to_owned(),
            format!("write {least} to {most}"),
        );
        Fault {
            setting,
            what,
            cure,
        }
    })
}

/// What is allowed and yet worth a word, such as copies that a crash will lose.
pub fn warnings(settings: &CacheSettings) -> Vec<Fault> {
    let mut warnings = Vec::new();
    let mut warn = |setting, what: &str, cure: &str| {
        warnings.push(Fault {
            setting,
            what: what.to_owned(),
            cure: cure.to_owned(),
        });
    };
    let partitioned = settings.mode == CacheMode::Partitioned;
    if partitioned && settings.backups == 0 {
        warn(
            "backups",
            "with no backups, the crash of a node loses every entry whose primary it is",
            "give it 1 backup or more, unless the entries can be made again",
        );
    }
    if settings.write_synchronization == WriteSynchronizationMode::PrimarySync && !partitioned {
        warn(
            "write-synchronization-mode",
            "PRIMARY_SYNC works outside of PARTITIONED too: a write waits for the primary alone, \
             and its crash may lose acknowledged writes",
            "write FULL_SYNC where no acknowledged write may be lost",
        );
    }
    warnings
}

/// Reads all caches and checks them against each other.
pub(super) fn read_all(
    given: &[GivenCache],
    endpoints: usize,
    quorum_of: Option<u32>,
    tickets: &TicketSettings,
    report: &mut Report,
) -> Vec<CacheSettings> {
    let mut ids: BTreeMap<i32, (String, Origin)> = BTreeMap::new();
    let mut caches = Vec::with_capacity(given.len());
    for cache in given {
        let mut reader = Reader::new(cache.label.as_str(), &cache.table, report);
        let Some(mut settings) = read(&mut reader, &cache.origin, endpoints, quorum_of) else {
            continue;
        };
        if tickets.caches().contains(settings.name.as_str()) {
            check_cache(&mut reader, &mut settings);
        }
        let name_origin = reader.origin("name");
        if let Some((other, place)) = ids.get(&settings.id().0) {
            let what = if *other == settings.name {
                format!("`{other}` is named at {place} already")
            } else {
                format!(
                    "`{}` and `{other}` at {place} have the same id",
                    settings.name
                )
            };
            reader.problem("name", what, "give one of the two another name");
            continue;
        }
        ids.insert(settings.id().0, (settings.name.clone(), name_origin));
        caches.push(settings);
    }
    caches
}

fn read(
    reader: &mut Reader<'_>,
    origin: &Origin,
    endpoints: usize,
    quorum_of: Option<u32>,
) -> Option<CacheSettings> {
    let name = reader.text("name", 1..=NAME_BYTES_MAX);
    if !reader.has("name") {
        let cure = "give each cache a name";
        reader.problem_at("name", Some(origin.clone()), "a cache without a name", cure);
    }
    // The rest is read all the same, so that all problems come at once.
    let mut settings = CacheSettings::named(name.as_deref().unwrap_or("-"));
    let mode_misread = read_modes(reader, &mut settings);
    read_times(reader, &mut settings);
    if let Some(partitions) = reader.count("partitions", PARTITIONS) {
        settings.partitions = partitions;
    }
    if let Some(bytes) = reader.size("entry-max-size", ENTRY_BYTES) {
        settings.entry_bytes_max = bytes;
    }
    if let Some(bytes) = reader.size("near-cache-max-size", 0..=NEAR_BYTES_MAX) {
        settings.near_bytes_max = bytes;
    }
    if let Some(last) = reader.boolean("removes-are-final") {
        settings.removes_are_final = last;
    }
    if let Some(filter) = reader.pairs("node-filter", FILTER_MAX) {
        settings.node_filter = filter;
    }
    settings.backup_zone = reader.text("backup-zone", 1..=255);
    read_losses(reader, &mut settings, quorum_of);
    for fault in warnings(&settings) {
        reader.warning(fault.setting, fault.what, fault.cure);
    }
    let partitioned = settings.mode == CacheMode::Partitioned;
    if partitioned && settings.backups as usize >= endpoints.max(1) {
        reader.warning(
            "backups",
            format!("the address list stands for {endpoints} nodes at most, fewer than copies"),
            "write fewer backups, or more addresses",
        );
    }
    if !mode_misread {
        warn_of_no_effect(reader, &settings);
    }
    name.map(|_| settings)
}

/// What is allowed and changes nothing is told.
fn warn_of_no_effect(reader: &mut Reader<'_>, settings: &CacheSettings) {
    if settings.near_bytes_max > 0 && settings.mode == CacheMode::Local {
        reader.warning(
            "near-cache-max-size",
            "no meaning in a LOCAL cache, which is read where it is",
            "take it out",
        );
    } else if settings.near_bytes_max > 0
        && (settings.time_to_idle.is_some() || settings.touch_on_read)
    {
        reader.warning(
            "near-cache-max-size",
            "entries with an idle time are never kept so: each read of them counts",
            "take it out, or take time-to-idle out",
        );
    }
    let partitioned = reader.assignment("cache-mode", "PARTITIONED");
    let cure = format!("take it out, or write {partitioned}");
    if settings.backup_zone.is_some() && settings.mode != CacheMode::Partitioned {
        let what = "no meaning outside of PARTITIONED: copies are not chosen";
        reader.warning("backup-zone", what, cure.as_str());
    }
    if reader.has("backups") && settings.mode != CacheMode::Partitioned {
        let what = "backups have no meaning outside of PARTITIONED";
        reader.warning("backups", what, cure);
    }
    if settings.mode == CacheMode::Local {
        for name in ["node-filter", "read-from", "write-synchronization-mode"] {
            if reader.has(name) {
                let what = "no meaning in a LOCAL cache, which is where it is asked";
                reader.warning(name, what, "take it out");
            }
        }
    }
}

/// Whether the mode was given and is none.
fn read_modes(reader: &mut Reader<'_>, settings: &mut CacheSettings) -> bool {
    let modes = [
        ("LOCAL", CacheMode::Local),
        ("REPLICATED", CacheMode::Replicated),
        ("PARTITIONED", CacheMode::Partitioned),
    ];
    let mode = reader.choice("cache-mode", &modes);
    settings.mode = mode.unwrap_or_default();
    let atomicity = [
        ("ATOMIC", AtomicityMode::Atomic),
        ("TRANSACTIONAL", AtomicityMode::Transactional),
    ];
    settings.atomicity = reader
        .choice("atomicity-mode", &atomicity)
        .unwrap_or_default();
    let synchronization = [
        ("FULL_SYNC", WriteSynchronizationMode::FullSync),
        ("PRIMARY_SYNC", WriteSynchronizationMode::PrimarySync),
        ("FULL_ASYNC", WriteSynchronizationMode::FullAsync),
    ];
    settings.write_synchronization = reader
        .choice("write-synchronization-mode", &synchronization)
        .unwrap_or_default();
    let default = match settings.write_synchronization {
        WriteSynchronizationMode::PrimarySync => ReadFrom::Primary,
        _ => ReadFrom::Any,
    };
    let read_from = [("any", ReadFrom::Any), ("primary", ReadFrom::Primary)];
    settings.read_from = reader.choice("read-from", &read_from).unwrap_or(default);
    if let Some(backups) = reader.count("backups", 0..=BACKUPS_MAX)
        && settings.mode == CacheMode::Partitioned
    {
        settings.backups = backups;
    }
    reader.misread("cache-mode", &mode)
}

fn read_times(reader: &mut Reader<'_>, settings: &mut CacheSettings) {
    settings.time_to_live = reader.duration("time-to-live", TIME_TO_LIVE).map(micros);
    settings.time_to_idle = reader.duration("time-to-idle", TIME_TO_LIVE).map(micros);
    settings.touch_on_read = reader
        .boolean("touch-on-read")
        .unwrap_or(settings.time_to_idle.is_some());
    if let Some(retention) = reader.duration("tombstone-retention", TOMBSTONE_RETENTION) {
        settings.tombstone_retention = micros(retention);
    }
    if let Some(window) = reader.duration("request-id-window", REQUEST_ID_WINDOW) {
        settings.request_id_window = micros(window);
    }
}

fn read_losses(reader: &mut Reader<'_>, settings: &mut CacheSettings, quorum_of: Option<u32>) {
    let splits = [
        ("allow-read-writes", WhenSplit::AllowReadWrites),
        ("allow-reads", WhenSplit::AllowReads),
        ("deny-read-writes", WhenSplit::DenyReadWrites),
    ];
    settings.when_split = reader.choice("when-split", &splits).unwrap_or_default();
    let losses = [
        ("reject", PartitionLoss::Reject),
        ("reset", PartitionLoss::Reset),
    ];
    settings.partition_loss = reader.choice("partition-loss", &losses).unwrap_or_default();
    if !settings.stops() {
        return;
    }
    if settings.mode == CacheMode::Local {
        reader.problem(
            "when-split",
            "no meaning in a LOCAL cache, which is never split",
            "take it out, or write cache-mode = \"REPLICATED\" or \"PARTITIONED\"",
        );
        return;
    }
    match quorum_of {
        None => reader.problem(
            "when-split",
            "a cache that stops in a minority needs to know how many servers there are",
            "write quorum-of, the number of servers, into [cluster]",
        ),
        Some(1 | 2) => reader.warning(
            "when-split",
            "with fewer than three servers, the loss of the oldest stops the cache until \
             somebody calls force-primary",
            "start three servers or more, and write their number as quorum-of",
        ),
        Some(_) => {}
    }
}

/// Every duration that is read is below a hundred years, which fits.
fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
