//! The ticket registry: real nodes over mutual TLS, asked as a sign-on server asks them.

mod costs;
mod descent;
mod events;
mod fail_over;
mod look_ups;
mod many;
mod one_ticket;
mod races;
mod races_under_faults;
mod raw_writes;
mod registry;
mod rotation;
mod secrets;
