//! `Scan`: partition after partition, page after page. Within a partition entries come in a fixed
//! order of their keys, so a key that lives throughout appears once, and a cursor is a partition
//! and a key. No more than a page and the stream's queue is held.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode;
use super::super::encode;
use super::super::limits::{SCAN_PAGE_BYTES, SCAN_PAGE_ENTRIES_FIRST, SCAN_PAGE_ENTRIES_MAX};
use super::super::streams::{Answers, Out};
use super::super::token::{ScanIdentity, ScanPlace};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Handle;
use crate::rpc::proto as pb;
use crate::types::{Blob, CacheId, CacheSettings, EntryView, Operation, Reply, Request};
use std::ops::Range;
use std::time::Instant;
use tonic::Response;

/// See `CacheService.Scan`.
pub fn start(
    front: &Front,
    message: pb::ScanRequest,
    time: CallTime,
) -> Result<Response<Answers<pb::ScanResponse>>> {
    let plan = {
        let view = front.handle.view();
        Plan::of(&decode::known(&view, &message.cache)?.settings, &message)?
    };
    time.check(Instant::now())?;
    let handle = front.handle.clone();
    front.stream(time, |out| run(handle, plan, time, out))
}

/// What to scan.
#[derive(Debug)]
struct Plan {
    cache: CacheId,
    prefix: Blob,
    asked: Option<u32>,
    partitions: Range<u32>,
    after: Option<Blob>,
    /// Entries that may still be sent.
    left: u64,
    keys_only: bool,
}

impl Plan {
    fn of(settings: &CacheSettings, message: &pb::ScanRequest) -> Result<Self> {
        let prefix = decode::prefix(&message.key_prefix)?;
        let mut partitions = match message.partition {
            None => 0..settings.partitions,
            Some(asked) if asked < settings.partitions => asked..asked + 1,
            Some(asked) => {
                return Err(Error::invalid(format!(
                    "cache {:?} has the partitions 0 to {}, not {asked}",
                    settings.name,
                    settings.partitions.saturating_sub(1)
                )));
            }
        };
        let mut after = None;
        if !message.cursor.is_empty() {
            let identity = ScanIdentity {
                cache: settings.id(),
                prefix: &prefix,
                partition: message.partition,
            };
            let ScanPlace {
                partition,
                after: key,
            } = identity.place(&message.cursor)?;
            if !partitions.contains(&partition) {
                return Err(
                    Error::invalid("the cursor is from a cache with more partitions")
                        .because("BAD_CURSOR"),
                );
            }
            partitions.start = partition;
            after = Some(key);
        }
        Ok(Self {
            cache: settings.id(),
            prefix,
            asked: message.partition,
            partitions,
            after,
            left: if message.limit == 0 {
                u64::MAX
            } else {
                message.limit
            },
            keys_only: message.keys_only,
        })
    }
}

async fn run(handle: Handle, plan: Plan, time: CallTime, out: Out<pb::ScanResponse>) -> Result<()> {
    let Plan {
        cache,
        prefix,
        asked,
        partitions,
        mut after,
        mut left,
        keys_only,
    } = plan;
    let mut pages = Pages::new(cache, prefix.clone(), keys_only);
    for partition in partitions {
        loop {
            let (request, most) = pages.request(partition, after.take(), left);
            let deadline = CallTime::within(&time, Instant::now()).deadline;
            let (entries, more) = pages.take(handle.execute(request, deadline).await?, most)?;
            after = entries.last().map(|entry| entry.key.clone());
            for entry in entries {
                let identity = ScanIdentity {
                    cache,
                    prefix: &prefix,
                    partition: asked,
                };
                let cursor = identity.cursor(partition, &entry.key).into();
                out.send(pb::ScanResponse {
                    entry: Some(encode::entry(entry)),
                    cursor,
                })
                .await?;
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
            if !more {
                break;
            }
        }
        after = None;
    }
    Ok(())
}

/// The pages of a scan: their size follows the weight of the entries.
pub(super) struct Pages {
    cache: CacheId,
    prefix: Blob,
    keys_only: bool,
    entries: u32,
}

impl Pages {
    pub(super) fn new(cache: CacheId, prefix: Blob, keys_only: bool) -> Self {
        Self {
            cache,
            prefix,
            keys_only,
            entries: SCAN_PAGE_ENTRIES_FIRST,
        }
    }

    /// The request of the next page of at most `left` entries, and its size.
    pub(super) fn request(&self, partition: u32, after: Option<Blob>, left: u64) -> (Request, u32) {
        let limit = self.entries.min(u32::try_from(left).unwrap_or(u32::MAX));
        let operation = Operation::Scan {
            prefix: self.prefix.clone(),
            after,
            limit,
            keys_only: self.keys_only,
        };
        (
            Request {
                cache: self.cache,
                partition,
                operation,
                request_id: None,
            },
            limit,
        )
    }

    /// The entries of a page and whether more follow; learns how large the next page may be.
    pub(super) fn take(&mut self, reply: Reply, asked: u32) -> Result<(Vec<EntryView>, bool)> {
        let Reply::Scanned { entries, more } = reply else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the node did not answer a scan",
            ));
        };
        let bytes: usize = entries
            .iter()
            .map(|entry| entry.key.len() + entry.value.len())
            .sum();
        if bytes > SCAN_PAGE_BYTES {
            self.entries = (self.entries / 4).max(1);
        } else if entries.len() >= asked as usize && bytes < SCAN_PAGE_BYTES / 8 {
            self.entries = (self.entries * 4).min(SCAN_PAGE_ENTRIES_MAX);
        }
        let more = more && !entries.is_empty();
        Ok((entries, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClusterTime;

    fn message() -> pb::ScanRequest {
        pb::ScanRequest {
            cache: "c".into(),
            key_prefix: "a".into(),
            ..Default::default()
        }
    }

    fn settings() -> CacheSettings {
        CacheSettings {
            partitions: 8,
            ..CacheSettings::named("c")
        }
    }

    #[test]
    fn a_cursor_moves_the_start() {
        let identity = ScanIdentity {
            cache: settings().id(),
            prefix: b"a",
            partition: None,
        };
        let cursor = identity.cursor(5, b"ab").into();
        let plan = Plan::of(
            &settings(),
            &pb::ScanRequest {
                cursor,
                ..message()
            },
        )
        .expect("a plan");
        assert_eq!(plan.partitions, 5..8);
        assert_eq!(plan.after, Some(Blob::from("ab")));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |message| Plan::of(&settings(), &message).expect_err("refused").kind;
        let bad = ErrorKind::InvalidArgument;
        assert_eq!(
            refused(pb::ScanRequest {
                partition: Some(8),
                ..message()
            }),
            bad
        );
        assert_eq!(
            refused(pb::ScanRequest {
                cursor: "x".into(),
                ..message()
            }),
            bad
        );
        let key_prefix = vec![0; 65_536].into();
        assert_eq!(
            refused(pb::ScanRequest {
                key_prefix,
                ..message()
            }),
            bad
        );
        let identity = ScanIdentity {
            cache: settings().id(),
            prefix: b"a",
            partition: None,
        };
        let cursor = identity.cursor(9, b"ab").into();
        assert_eq!(
            refused(pb::ScanRequest {
                cursor,
                ..message()
            }),
            bad
        );
    }

    #[test]
    fn pages_follow_the_weight_of_entries() {
        let mut pages = Pages::new(CacheId(1), Blob::default(), false);
        let page = |count: usize, bytes: usize| Reply::Scanned {
            entries: vec![
                EntryView {
                    key: "k".into(),
                    value: vec![0; bytes].into(),
                    flags: 0,
                    version: 1,
                    created_at: ClusterTime(0),
                    last_access_at: ClusterTime(0),
                    expires_at: None,
                    idle_expires_at: None,
                };
                count
            ],
            more: true,
        };
        assert_eq!(pages.request(0, None, u64::MAX).1, SCAN_PAGE_ENTRIES_FIRST);
        pages.take(page(16, 10), 16).expect("a page");
        assert_eq!(pages.request(0, None, u64::MAX).1, 64);
        assert_eq!(pages.request(0, None, 3).1, 3);
        pages.take(page(2, SCAN_PAGE_BYTES), 64).expect("a page");
        assert_eq!(pages.request(0, None, u64::MAX).1, 16);
        let (entries, more) = pages.take(page(0, 0), 16).expect("a page");
        assert!(entries.is_empty() && !more);
    }
}
