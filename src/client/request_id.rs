//! Ids for requests that may be repeated.

use crate::error::{Error, ErrorKind, Result};
use crate::types::RequestId;
use rustls::crypto::{SecureRandom, aws_lc_rs};

/// Fills the buffer with random bytes.
///
/// # Errors
///
/// When the system has no randomness to give.
pub fn random_bytes(buffer: &mut [u8]) -> Result<()> {
    // The provider is a constant table; asking for it costs nothing.
    static RANDOM: std::sync::LazyLock<&'static dyn SecureRandom> =
        std::sync::LazyLock::new(|| aws_lc_rs::default_provider().secure_random);
    RANDOM
        .fill(buffer)
        .map_err(|_| Error::new(ErrorKind::Internal, "no random bytes to be had"))
}

/// A new id: the same one goes with every repetition of the request.
///
/// # Errors
///
/// When the system has no randomness to give.
pub fn request_id() -> Result<RequestId> {
    let mut id = RequestId::default();
    random_bytes(&mut id)?;
    Ok(id)
}
