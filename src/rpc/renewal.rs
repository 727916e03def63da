//! The TLS configurations that a node uses now, and how they change while it runs: its files are
//! looked at again and again; what has changed is checked as at the start, and used for all
//! connections from then on. A bad file is refused and the old one stays in use. What becomes of
//! connections that stand is decided by who holds them.
//!
//! **Half-written files.** A change counts once two looks in a row have found the same content,
//! so a file that is being written is not taken for a bad one.
//!
//! **Resumption.** There is none, on either side (`tls`): every connection proves itself anew by
//! the files of its time.

use super::admitted::Admitted;
use super::refusals::{Reason, Refusals};
use super::tls::{NodeTls, node_tls};
use crate::config::stores::read_file;
use crate::config::{Password, Store, TlsSettings};
use crate::error::{Error, Result};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3;

/// How often what was refused is tried again, since time alone may mend it (a certificate that
/// was not valid yet).
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// What a node uses for TLS, for as long as it runs.
pub struct Renewal {
    settings: TlsSettings,
    current: ArcSwap<NodeTls>,
    generations: watch::Sender<u64>,
    looked: Mutex<Looked>,
    renewed: AtomicU64,
    refused: AtomicU64,
    /// Who was not let in.
    pub refusals: Refusals,
    /// Who was, and still stands.
    pub admitted: Arc<Admitted>,
}

/// What was found in the files, as digests.
struct Looked {
    used: u128,
    last: u128,
    refused: Option<(u128, Instant)>,
}

/// What came of a look at the files.
#[derive(Debug)]
pub enum Look {
    /// Nothing has changed, or not long enough ago.
    Same,
    /// What has changed is in use now.
    Renewed,
    /// What has changed is bad, and what was in use still is. Told once for each content.
    Refused(Error),
}

impl Renewal {
    /// Reads the files; absent where the settings turn TLS off.
    ///
    /// # Errors
    ///
    /// As [`node_tls`].
    pub fn start(settings: &TlsSettings) -> Result<Option<Arc<Self>>> {
        let used = digest(settings);
        let Some(tls) = node_tls(settings)? else {
            return Ok(None);
        };
        let looked = Looked {
            used,
            last: used,
            refused: None,
        };
        Ok(Some(Arc::new(Self {
            settings: settings.clone(),
            current: ArcSwap::from_pointee(tls),
            generations: watch::Sender::new(0),
            looked: Mutex::new(looked),
            renewed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refusals: Refusals::default(),
            admitted: Arc::default(),
        })))
    }

    /// What is in use now.
    pub fn current(&self) -> Arc<NodeTls> {
        self.current.load_full()
    }

    /// How often what is in use has changed.
    pub fn generation(&self) -> u64 {
        *self.generations.borrow()
    }

    /// The same, and every change of it.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    /// How often files were renewed, and how often refused.
    pub fn counts(&self) -> (u64, u64) {
        let renewed = self.renewed.load(Ordering::Relaxed);
        (renewed, self.refused.load(Ordering::Relaxed))
    }

    /// Ends the connections whose certificates are not admitted by what is in use now.
    pub fn end_withdrawn(&self) {
        let tls = self.current();
        let refused = |chain: &[CertificateDer<'_>], is_node| !tls.still_admits(chain, is_node);
        for address in self.admitted.end_refused(refused) {
            let why = "the renewed files do not admit its certificate";
            self.refusals.add(Reason::Withdrawn, address, why);
        }
    }

    /// Looks at the files, and uses what has changed. Blocks: it reads files and opens keys.
    pub fn look(&self) -> Look {
        let mut looked = self.looked.lock();
        let found = digest(&self.settings);
        let twice = looked.last == found;
        looked.last = found;
        if found == looked.used {
            looked.refused = None;
            return Look::Same;
        }
        let again = match looked.refused {
            Some((refused, at)) if refused == found => {
                if at.elapsed() < RETRY_INTERVAL {
                    return Look::Same;
                }
                true
            }
            _ => false,
        };
        if !twice {
            return Look::Same;
        }
        match node_tls(&self.settings) {
            // Changed while it was read: what was read may be half of it.
            Ok(_) if digest(&self.settings) != found => Look::Same,
            Ok(None) => Look::Same,
            Ok(Some(tls)) => {
                looked.used = found;
                looked.refused = None;
                self.take(tls);
                Look::Renewed
            }
            Err(error) => {
                looked.refused = Some((found, Instant::now()));
                if again {
                    return Look::Same;
                }
                self.refused.fetch_add(1, Ordering::Relaxed);
                Look::Refused(error)
            }
        }
    }

    fn take(&self, tls: NodeTls) {
        let generation = self.generation() + 1;
        self.current.store(Arc::new(tls.of_generation(generation)));
        self.renewed.fetch_add(1, Ordering::Relaxed);
        // Behind the store: who hears of a generation finds it, or a later one.
        self.generations.send_replace(generation);
    }
}

/// A digest of all files that the settings name, whether they can be read or not.
fn digest(settings: &TlsSettings) -> u128 {
    let mut digest = Xxh3::new();
    let stores = [
        &settings.key_store,
        &settings.trust_store,
        &settings.client_trust_store,
    ];
    for store in stores.into_iter().flatten() {
        add(&mut digest, read_file(&store.path).ok().as_deref());
        let Store {
            password,
            key_password,
            ..
        } = store;
        for password in [password, key_password].into_iter().flatten() {
            let text = password.read().ok();
            let text = text.as_ref().map(|text| text.expose_secret().as_bytes());
            if matches!(password, Password::File(_)) {
                add(&mut digest, text);
            }
        }
    }
    digest.digest128()
}

fn add(digest: &mut Xxh3, content: Option<&[u8]>) {
    let length = content.map_or(u64::MAX, |content| content.len() as u64);
    digest.update(&length.to_be_bytes());
    digest.update(content.unwrap_or_default());
}
