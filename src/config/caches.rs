//! `[[caches]]`: the caches that exist from the start.
