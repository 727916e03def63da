//! `scan`: the entries of a cache, one after another.

use super::connection::Connection;
use super::get;
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use super::progress::Progress;
use crate::client::Client;
use crate::client::messages::{Entry, ScanRequest, SizeRequest};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

/// So many rows are laid out together; more follow in a table of their own.
const ROWS_TOGETHER: usize = 500;

/// How much of a value a row shows, in characters.
const VALUE_SHOWN: usize = 120;

/// List the entries of a cache; exit code 1 where there is none
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid scan sessions --prefix TGT- --limit 100\n  \
                        embergrid scan sessions --output json > sessions.jsonl\n\n\
                        As JSON each line is one entry, with a cursor behind which another scan goes on."
)]
pub struct Arguments {
    /// The cache
    cache: String,
    /// Only keys that begin so
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
    /// Only this partition
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,
    /// End after so many entries
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Go on behind the entry that came with this cursor, of a scan with the same flags
    #[arg(long, value_name = "HEX", value_parser = output::from_hex)]
    cursor: Option<Bytes>,
    /// Leave values out
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let request = ScanRequest {
        cache: arguments.cache.clone(),
        key_prefix: Bytes::copy_from_slice(arguments.prefix.as_bytes()),
        partition: arguments.partition,
        cursor: arguments.cursor.clone().unwrap_or_default(),
        limit: arguments.limit.unwrap_or_default(),
        keys_only: arguments.keys_only,
    };
    let client = arguments.connection.client().await?;
    let progress = Progress::counting("entries", expected(&client, &request).await?);
    let mut scan = client.scan(request);
    let mut rows = Rows::default();
    let mut count = 0u64;
    while let Some(found) = scan.next().await? {
        let Some(entry) = found.entry else { continue };
        count += 1;
        progress.add_one();
        let read_on = match arguments.connection.output {
            Output::Json => {
                let mut document = get::as_json(&entry);
                if arguments.keys_only {
                    get::without_value(&mut document);
                }
                document["cursor"] = json!(output::hex(&found.cursor));
                output::json_line(&document)
            }
            Output::Table => rows.add(&entry),
        };
        if !read_on {
            // The reader went away; what it has read is what it wanted.
            return Ok(Answer::Yes);
        }
    }
    drop(progress);
    rows.print();
    if arguments.connection.output == Output::Table {
        if count == 0 {
            output::line("no entries");
        }
        if arguments.limit == Some(count) {
            output::aside(format_args!(
                "perhaps more: --cursor {}",
                output::hex(scan.cursor())
            ));
        }
    }
    Ok(Answer::of(count > 0))
}

/// How many entries will come, where that can be known.
async fn expected(client: &Client, request: &ScanRequest) -> Result<Option<u64>, Failure> {
    let whole =
        request.key_prefix.is_empty() && request.partition.is_none() && request.cursor.is_empty();
    if !whole || !Progress::is_shown() {
        return Ok(None);
    }
    let size = client.size(SizeRequest {
        cache: request.cache.clone(),
        ..SizeRequest::default()
    });
    let size = size.await?;
    Ok(Some(match request.limit {
        0 => size,
        limit => size.min(limit),
    }))
}

/// Rows that wait to be laid out together.
#[derive(Default)]
struct Rows(Vec<[String; 4]>);

impl Rows {
    /// False: the reader went away.
    fn add(&mut self, entry: &Entry) -> bool {
        let expires = [&entry.expires_at, &entry.idle_expires_at]
            .into_iter()
            .filter_map(|at| get::point(at.as_ref()))
            .min();
        self.0.push([
            output::text(&entry.key),
            output::shortened(&output::text(&entry.value), VALUE_SHOWN),
            format!("{:016x}", entry.version),
            expires.unwrap_or_else(|| "–".to_owned()),
        ]);
        self.0.len() < ROWS_TOGETHER || self.print()
    }

    fn print(&mut self) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let mut table = output::table(&["key", "value", "version", "expires at"]);
        table.add_rows(self.0.drain(..));
        output::try_line(table)
    }
}
