//! Ids for requests that may be repeated.

use crate::error::{Error, ErrorKind, Result};
use crate::types::RequestId;
use rustls::crypto::{SecureRandom, aws_lc_rs};

/// Fills the buffer with random bytes.
///
/// # Errors
///
/// When the system has no randomness to give.
///
/// # Example
///
/// ```
/// let mut secret = [0; 32];
/// embergrid::client::random_bytes(&mut secret)?;
/// # Ok::<(), embergrid::error::Error>(())
/// ```
pub fn random_bytes(buffer: &mut [u8]) -> Result<()> {
    // The provider is a constant table; asking for it costs nothing.
    static RANDOM: std::sync::LazyLock<&'static dyn SecureRandom> =
        std::sync::LazyLock::new(|| aws_lc_rs::default_provider().secure_random);
    RANDOM
        .fill(buffer)
        .map_err(|_| Error::new(ErrorKind::Internal, "no random bytes to be had"))
}

/// A new id: the same one goes with every repetition of the request. The client makes one for each
/// call by itself; make your own where a request is repeated after its call has ended.
///
/// # Errors
///
/// When the system has no randomness to give.
///
/// # Example
///
/// ```
/// use embergrid::client::{messages::RemoveRequest, request_id};
///
/// let request = RemoveRequest {
///     cache: "sessions".into(),
///     key: "TGT-1".into(),
///     request_id: request_id()?.to_vec().into(),
///     ..RemoveRequest::default()
/// };
/// # Ok::<(), embergrid::error::Error>(())
/// ```
pub fn request_id() -> Result<RequestId> {
    let mut id = RequestId::default();
    random_bytes(&mut id)?;
    Ok(id)
}
