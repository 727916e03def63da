//! Conversions between the types and the messages that nodes exchange, in both directions.
//!
//! Whatever comes in is checked here against [`limits`], and copied: nothing that is kept pins the
//! network buffer that it came in. What goes out shares the bytes that are stored. No decisions
//! here, and not the public services: what clients say is checked where it is served.

pub mod blob;
pub mod comparing;
pub mod condition;
pub mod control;
pub mod direct;
pub mod entry;
pub mod hello;
pub mod limits;
pub mod lock;
pub mod node;
pub mod operation;
pub mod partition;
pub mod reply;
pub mod settings;
pub mod ticket;
pub mod transaction;
pub mod transfer;
pub mod update;
pub mod version;
pub mod view;

use crate::error::{Error, Result};
use crate::rpc::proto::{self, peer_message::Message as Kind};
use crate::types::message::Message;

/// A message for a peer.
pub fn encode(message: &Message) -> proto::PeerMessage {
    let kind = match message {
        Message::Control(control) => control::encode(control),
        Message::Data(data) => Kind::Data(partition::encode(data)),
        Message::Forward(forward) => Kind::Forward(operation::encode_forward(forward)),
        Message::ForwardReply(answer) => Kind::ForwardReply(reply::encode_forward(answer)),
    };
    proto::PeerMessage {
        message: Some(kind),
    }
}

/// A message from a peer.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known. Only this message is affected.
pub fn decode(message: proto::PeerMessage) -> Result<Message> {
    Ok(
        match required(message.message, "message of a known kind")? {
            Kind::Data(data) => Message::Data(partition::decode(data)?),
            Kind::Forward(forward) => Message::Forward(operation::decode_forward(forward)?),
            Kind::ForwardReply(answer) => Message::ForwardReply(reply::decode_forward(answer)?),
            other => Message::Control(control::decode(other)?),
        },
    )
}

/// What must be there.
fn required<T>(field: Option<T>, name: &str) -> Result<T> {
    field.ok_or_else(|| Error::invalid(format!("{name} is missing")))
}

/// A list whose every element converts, of at most [`limits::LIST_MAX`] elements.
fn list<A, B>(items: Vec<A>, name: &str, decode: impl Fn(A) -> Result<B>) -> Result<Vec<B>> {
    limits::at_most(items.len(), limits::LIST_MAX, name, "elements")?;
    items.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::message::Control;
    use prost::Message as _;

    #[test]
    fn what_a_later_version_adds_is_ignored_or_refused_alone() {
        let leave = encode(&Message::Control(Control::Leave(Default::default())));
        let mut bytes = leave.encode_to_vec();
        bytes.extend([0xf8, 0x7f, 0x01]);
        let known = proto::PeerMessage::decode(bytes.as_slice()).map(decode);
        assert_eq!(
            known,
            Ok(Ok(Message::Control(Control::Leave(Default::default()))))
        );
        let unknown = proto::PeerMessage::decode(&[0xfa, 0x7f, 0x00][..]).map(decode);
        let error = unknown.expect("well-formed").expect_err("of no kind");
        assert!(error.context.contains("known kind"), "{error}");
    }
}
