//! A node inside this process, asked without a network in between, as a Rust program that embeds
//! one does.

use super::load::Dice;
use super::plan::Plan;
use super::usage;
use crate::cli::outcome::{Answer, Failure, Outcome};
use crate::cli::output::{self, Output};
use crate::config::Settings;
use crate::node::EmbeddedCache;
use crate::service::server::ServingNode;
use crate::types::CacheSettings;
use serde_json::json;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the node may take to serve.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Calls between two looks at the clock.
const BATCH: u32 = 64;

/// Runs the measurement: as many threads as the plan has callers.
pub fn run(plan: &Plan, form: Output) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("start the runtime: {error}")))?;
    let _inside = runtime.enter();
    let node = start(plan)?;
    let cache = runtime.block_on(ready(&node, plan))?;
    let begin = Instant::now();
    let Done { calls, nanos } = work(plan, &cache, &runtime)?;
    let seconds = begin.elapsed().as_secs_f64();
    let rate = calls as f64 / seconds;
    let nanos_per_call = nanos.map(|nanos| nanos as f64 / (calls as f64).max(1.0));
    match form {
        Output::Json => output::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "plan": plan,
            "embedded": {
                "calls": calls,
                "seconds": seconds,
                "calls_per_second": rate,
                "processor_nanos_per_call": nanos_per_call,
            },
        })),
        Output::Table => output::line(format_args!(
            "a node in this process: {calls} calls in {seconds:.2} s by {} threads, {rate:.0} calls/s, \
             {} ns of processor time for a call",
            plan.callers,
            nanos_per_call.map_or_else(|| "unknown".to_owned(), |nanos| format!("{nanos:.0}"))
        )),
    }
    Ok(Answer::Yes)
}

/// A node alone, on loopback; nobody connects to it but itself.
fn start(plan: &Plan) -> Result<ServingNode, Failure> {
    let refused = |error: std::io::Error| Failure::failed(format!("a port on loopback: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?.to_string();
    let flags = [
        ("discovery.addresses", address.as_str()),
        ("tls.enabled", "false"),
    ];
    let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut settings = Settings::load(None, Vec::new(), flags.to_vec())
        .map_err(|problems| Failure::settings(&problems))?;
    settings.caches = vec![CacheSettings {
        entry_bytes_max: plan.value_size.max(1 << 20) as u64,
        ..CacheSettings::named(&plan.cache)
    }];
    Ok(ServingNode::start_on(&settings, listener)?)
}

/// The cache, filled, once the node serves it.
async fn ready(node: &ServingNode, plan: &Plan) -> Result<EmbeddedCache, Failure> {
    let handle = node.handle();
    let mut views = handle.views();
    let known = views.wait_for(|view| view.cache_named(&plan.cache).is_some());
    tokio::time::timeout(START_LIMIT, known)
        .await
        .map_err(|_| Failure::failed("the node did not serve in time"))?
        .map_err(|_| Failure::failed("the node stopped"))?;
    let cache = handle.cache(&plan.cache)?;
    for number in 0..plan.keys {
        cache.put(&plan.key(number), &plan.value()).await?;
    }
    Ok(cache)
}

/// What threads have done.
struct Done {
    calls: u64,
    /// The processor time that they took; none where it cannot be read.
    nanos: Option<u64>,
}

/// Threads that call until the time is over.
fn work(
    plan: &Plan,
    cache: &EmbeddedCache,
    runtime: &tokio::runtime::Runtime,
) -> Result<Done, Failure> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for _ in 0..plan.callers {
            let dice = Dice::new()?;
            let calling = || runtime.block_on(call(plan, cache, dice, &stop));
            callers.push(scope.spawn(calling));
        }
        runtime.block_on(async { tokio::time::sleep(plan.duration).await });
        stop.store(true, Ordering::Relaxed);
        let mut all = Done {
            calls: 0,
            nanos: Some(0),
        };
        for caller in callers {
            let ended = caller.join();
            let done = ended.map_err(|_| Failure::failed("a caller broke off"))??;
            all.calls += done.calls;
            all.nanos = all.nanos.zip(done.nanos).map(|(all, one)| all + one);
        }
        Ok(all)
    })
}

async fn call(
    plan: &Plan,
    cache: &EmbeddedCache,
    mut dice: Dice,
    stop: &AtomicBool,
) -> Result<Done, Failure> {
    // Made before: what is measured is the cache.
    let some = plan.keys.min(100_000);
    let keys: Vec<bytes::Bytes> = (0..some).map(|number| plan.key(number)).collect();
    let value = plan.value();
    let before = usage::of_this_thread();
    let mut calls = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            let place = usize::try_from(dice.below(some)).unwrap_or_default();
            let Some(key) = keys.get(place) else { continue };
            if dice.below(100) < u64::from(plan.reads) {
                if cache.get(key).await?.is_none() {
                    return Err(Failure::failed("a key that was put is gone"));
                }
            } else {
                cache.put(key, &value).await?;
            }
            calls += 1;
        }
    }
    let nanos = usage::of_this_thread().zip(before);
    Ok(Done {
        calls,
        nanos: nanos.map(|(after, before)| after.saturating_sub(before)),
    })
}
