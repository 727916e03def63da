//! Frames of the streams between nodes: a number, a hello in the first one, messages in the
//! others. A message that cannot be read is left out and told of; the rest of its frame counts.

use super::codec;
use super::proto::{ControlFrame, DataFrame, PeerMessage};
use crate::error::{Error, Result};
use crate::types::hello::Hello;
use crate::types::message::Message;

/// What the frames of both kinds of stream have in common.
pub trait Frame: Default + Send + Unpin + 'static {
    /// A frame of these parts.
    fn new(id: u64, hello: Option<&Hello>, messages: &[Message]) -> Self;

    /// Its number, its hello and its messages.
    fn parts(self) -> (u64, Option<super::proto::Hello>, Vec<PeerMessage>);

    /// The hello that every first frame carries.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where there is none, or it cannot be read.
    fn into_hello(self) -> Result<Hello> {
        let (_, hello, _) = self.parts();
        codec::hello::decode(hello.ok_or_else(|| Error::invalid("the first frame has no hello"))?)
    }

    /// The messages that can be read.
    fn into_messages(self) -> Vec<Message> {
        let (id, _, messages) = self.parts();
        let mut read = Vec::with_capacity(messages.len());
        for message in messages {
            match codec::decode(message) {
                Ok(message) => read.push(message),
                Err(error) => tracing::warn!(frame = id, %error, "a message cannot be read"),
            }
        }
        read
    }
}

macro_rules! frame {
    ($name:ident) => {
        impl Frame for $name {
            fn new(id: u64, hello: Option<&Hello>, messages: &[Message]) -> Self {
                let messages = messages.iter().map(codec::encode).collect();
                Self {
                    id,
                    hello: hello.map(codec::hello::encode),
                    messages,
                }
            }

            fn parts(self) -> (u64, Option<super::proto::Hello>, Vec<PeerMessage>) {
                (self.id, self.hello, self.messages)
            }
        }
    };
}

frame!(ControlFrame);
frame!(DataFrame);
