//! Frames of the streams between nodes: a number, a hello in the first one, messages in the
//! others. A message that cannot be read is left out and told of; the rest of its frame counts.

use super::proto::{ControlFrame, DataFrame};
use crate::error::{Error, Result};
use crate::types::hello::Hello;
use crate::types::message::Message;

/// What the frames of both kinds of stream have in common.
pub trait Frame: Default + Send + Unpin + 'static {
    /// A frame of these parts.
    fn new(id: u64, hello: Option<&Hello>, messages: &[Message]) -> Self;

    /// The hello that every first frame carries.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where there is none, or it cannot be read.
    fn into_hello(self) -> Result<Hello> {
        Err(Error::invalid("the first frame has no hello"))
    }

    /// The messages that can be read.
    fn into_messages(self) -> Vec<Message> {
        Vec::new()
    }
}

macro_rules! frame {
    ($name:ident) => {
        impl Frame for $name {
            fn new(_id: u64, _hello: Option<&Hello>, _messages: &[Message]) -> Self {
                Self::default()
            }
        }
    };
}

frame!(ControlFrame);
frame!(DataFrame);
