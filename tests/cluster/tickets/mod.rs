//! The ticket registry: real nodes over mutual TLS, asked as a sign-on server asks them.

mod descent;
mod events;
mod look_ups;
mod one_ticket;
mod races;
mod registry;
mod secrets;
