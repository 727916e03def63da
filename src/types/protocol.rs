//! The versions of the protocol between nodes, and what each of them knows.
//!
//! A node speaks one version and understands the one before it. Two nodes speak the lower of their
//! two versions: what the other does not know is not sent to it, and is ignored where it comes all
//! the same. So a cluster is taken to a new version one node at a time, in any order, and back.
//!
//! # How a message is added
//!
//! 1. Raise [`PROTOCOL_VERSION`], once for all that a release adds, and [`PROTOCOL_VERSION_MIN`]
//!    to the version before.
//! 2. A **field** is added to its message with a number of its own. A node that does not know it
//!    ignores it; so absent must mean what was meant before there was one. Numbers are never used
//!    again, and no field changes its meaning.
//! 3. A **kind** of message is added to its `oneof`, and to [`Message::since`]. Whoever sends it
//!    must do without an answer: to an older node it is a message that was lost, and every machine
//!    says what it does with one of those. Nothing may depend on it while older nodes are there.
//! 4. A kind of **update**, or of the effect of one, is different: an owner that cannot read one
//!    would miss a piece of its stream. It may be streamed only once every node of the view speaks
//!    the version, so that the release that reads it comes before the one that writes it.
//! 5. Nobody carries what he does not know: fields that a node of an older protocol cannot read are gone
//!    from all that it writes. What is *stored* (a state of a key, a request that was answered, an update)
//!    may therefore get a new field only by 4., once every server speaks the version; what is *told*
//!    (views, headers, who a node is) at any time, since absent means what it meant before.
//! 6. A random value of it joins `tests/fuzz`, and the simulator runs it between nodes of two
//!    versions, as it does everything. (It leaves out kinds of messages that an older node does not know, not
//!    fields.)
//!
//! | version | what it added |
//! |---|---|
//! | 1 | everything else |
//! | 2 | owners compare their copies: `Compare`, `Compared`, `Holds`, `Differs`; `Verify`; what was agreed with servers that are out, in the header of a transfer; which protocol a node speaks; and, refused while a server of the view speaks an older one (see [`View::protocol`](super::View::protocol)), since they or their answers are streamed: writes of tickets, transactions and named locks |

use super::message::{Body, Data, Forward, ForwardReply, Message};
use super::operation::{KeyOperation, Operation, Reply};

/// The protocol that this program speaks.
pub const PROTOCOL_VERSION: u32 = 2;
/// The protocol from which on a server understands in its streams what transactions, named locks and
/// tickets leave there.
pub const TRANSACTIONS_SINCE: u32 = 2;
/// The oldest protocol that it understands: the one before.
pub const PROTOCOL_VERSION_MIN: u32 = 1;

impl Message {
    /// The first version of the protocol that knows this kind of message.
    pub fn since(&self) -> u32 {
        match self {
            Self::Data(Data {
                body: Body::Compare(_) | Body::Compared(_) | Body::Holds(_) | Body::Differs(_),
                ..
            }) => 2,
            Self::Forward(Forward { request, .. }) => request.operation.since(),
            Self::ForwardReply(ForwardReply {
                result: Ok(reply), ..
            }) => reply.since(),
            _ => 1,
        }
    }
}

impl Reply {
    /// The first version of the protocol that knows this kind of answer.
    pub fn since(&self) -> u32 {
        match self {
            Self::Verified(_)
            | Self::Registered { .. }
            | Self::Deleted { .. }
            | Self::Narrowed { .. }
            | Self::Executed { .. }
            | Self::Locked { .. }
            | Self::Step(_) => 2,
            _ => 1,
        }
    }
}

impl Operation {
    /// The first version of the protocol that knows this kind of operation.
    pub fn since(&self) -> u32 {
        match self {
            Self::Verify { .. }
            | Self::Tickets(_)
            | Self::Lock { .. }
            | Self::Transaction { .. }
            | Self::Key {
                operation: KeyOperation::Ticket(_),
                ..
            } => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::message::Control;

    #[test]
    fn what_is_new_says_so() {
        let leave = Control::Leave(Default::default());
        assert_eq!(Message::Control(leave).since(), 1);
        let data = |body| {
            Message::Data(Data {
                cache: Default::default(),
                partition: 0,
                topology: Default::default(),
                body,
            })
        };
        assert_eq!(data(Body::AskTail).since(), 1);
        assert_eq!(data(Body::Compare(Default::default())).since(), 2);
        assert_eq!(data(Body::Differs(Default::default())).since(), 2);
    }
}
