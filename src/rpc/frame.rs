//! Frames of the streams between nodes: a number, a hello in the first one, messages in the
//! others. A message that cannot be read is left out and told of; the rest of its frame counts.
//!
//! Data frames, whose messages are those of every write, hold messages as the engine knows them and
//! go to and from bytes at once; their bytes are as `peer.proto` says.

use super::codec;
use super::codec::direct::{self, Backwards};
use super::proto::{self, ControlFrame, PeerMessage};
use super::weight::weight;
use crate::error::{Error, Result};
use crate::types::hello::Hello;
use crate::types::message::Message;
use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, bytes as wire_bytes, message, uint64};
use prost::{DecodeError, EncodeError, Message as _};

/// What the frames of both kinds of stream have in common.
pub trait Frame: Default + Send + Unpin + 'static {
    /// A frame of these parts.
    fn new(id: u64, hello: Option<&Hello>, messages: Vec<Message>) -> Self;

    /// The hello that it carries, taken out.
    fn take_hello(&mut self) -> Option<proto::Hello>;

    /// The messages that can be read.
    fn into_messages(self) -> Vec<Message>;

    /// The hello that every first frame carries.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where there is none, or it cannot be read.
    fn into_hello(mut self) -> Result<Hello> {
        let hello = self.take_hello();
        codec::hello::decode(hello.ok_or_else(|| Error::invalid("the first frame has no hello"))?)
    }
}

/// A message, unless it cannot be read.
fn readable(frame: u64, message: PeerMessage) -> Option<Message> {
    match codec::decode(message) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::warn!(frame, %error, "a message cannot be read");
            None
        }
    }
}

impl Frame for ControlFrame {
    fn new(id: u64, hello: Option<&Hello>, messages: Vec<Message>) -> Self {
        Self {
            id,
            hello: hello.map(codec::hello::encode),
            messages: messages.iter().map(codec::encode).collect(),
        }
    }

    fn take_hello(&mut self) -> Option<proto::Hello> {
        self.hello.take()
    }

    fn into_messages(self) -> Vec<Message> {
        let messages = self.messages.into_iter();
        messages
            .filter_map(|message| readable(self.id, message))
            .collect()
    }
}

/// A frame of a data stream: see `peer.proto`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataFrame {
    /// Rises with each frame of a stream; the first one has 1.
    pub id: u64,
    /// In the first frame only.
    pub hello: Option<proto::Hello>,
    /// In order. Of what came, those that can be read.
    pub messages: Vec<Message>,
}

impl Frame for DataFrame {
    fn new(id: u64, hello: Option<&Hello>, messages: Vec<Message>) -> Self {
        Self {
            id,
            hello: hello.map(codec::hello::encode),
            messages,
        }
    }

    fn take_hello(&mut self) -> Option<proto::Hello> {
        self.hello.take()
    }

    fn into_messages(self) -> Vec<Message> {
        self.messages
    }
}

/// The numbers of the fields.
const ID: u32 = 1;
const HELLO: u32 = 2;
const MESSAGES: u32 = 3;

impl DataFrame {
    /// The fields of the messages, in bytes.
    fn messages_written(&self) -> Backwards {
        let bytes = self.messages.iter().map(weight).sum();
        let mut out = Backwards::with_capacity(bytes);
        for message in self.messages.iter().rev() {
            let before = out.written().len();
            if !direct::encode(message, &mut out) {
                out.put(&codec::encode(message).encode_to_vec());
            }
            out.head(u64::from(MESSAGES), out.written().len() - before);
        }
        out
    }

    fn head_len(&self) -> usize {
        let id = if self.id > 0 {
            uint64::encoded_len(ID, &self.id)
        } else {
            0
        };
        let hello = self.hello.as_ref();
        id + hello.map_or(0, |hello| message::encoded_len(HELLO, hello))
    }

    fn write(&self, messages: &Backwards, buffer: &mut impl BufMut) {
        if self.id > 0 {
            uint64::encode(ID, &self.id, buffer);
        }
        if let Some(hello) = &self.hello {
            message::encode(HELLO, hello, buffer);
        }
        buffer.put_slice(messages.written());
    }
}

impl prost::Message for DataFrame {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        self.write(&self.messages_written(), buffer);
    }

    fn encoded_len(&self) -> usize {
        self.head_len() + self.messages_written().written().len()
    }

    /// Otherwise all would be written twice, once to know how long it is.
    fn encode(&self, buffer: &mut impl BufMut) -> std::result::Result<(), EncodeError> {
        let messages = self.messages_written();
        let required = self.head_len() + messages.written().len();
        if required > buffer.remaining_mut() {
            // Which says how much there is no room for.
            return vec![0u8; required].encode(buffer);
        }
        self.write(&messages, buffer);
        Ok(())
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> std::result::Result<(), DecodeError> {
        match tag {
            ID => uint64::merge(wire_type, &mut self.id, buffer, context),
            HELLO => {
                let hello = self.hello.get_or_insert_default();
                message::merge(wire_type, hello, buffer, context)
            }
            MESSAGES => {
                let mut bytes = Bytes::new();
                wire_bytes::merge(wire_type, &mut bytes, buffer, context)?;
                let message = match direct::decode(&bytes) {
                    Some(message) => Some(message),
                    None => readable(self.id, PeerMessage::decode(bytes)?),
                };
                self.messages.extend(message);
                Ok(())
            }
            _ => prost::encoding::skip_field(wire_type, tag, buffer, context),
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::message::{Body, Data};

    fn message(partition: u32, body: Body) -> Message {
        Message::Data(Data {
            cache: Default::default(),
            partition,
            topology: Default::default(),
            body,
        })
    }

    fn frame() -> DataFrame {
        let ack = |upto| Body::Ack {
            stream: Default::default(),
            upto,
        };
        DataFrame {
            id: 300,
            hello: Some(proto::Hello::default()),
            messages: vec![
                message(1, ack(2)),
                message(3, Body::AskTail),
                message(4, ack(5)),
            ],
        }
    }

    #[test]
    fn a_frame_comes_back_as_it_went() {
        let bytes = frame().encode_to_vec();
        assert_eq!(bytes.len(), frame().encoded_len());
        assert_eq!(DataFrame::decode(bytes.as_slice()), Ok(frame()));
        assert!(
            frame().encode(&mut [0u8; 8].as_mut_slice()).is_err(),
            "no room"
        );
        // A control frame has the same fields.
        let control = ControlFrame::decode(bytes.as_slice()).expect("well-formed");
        assert_eq!((control.id, control.hello.is_some()), (300, true));
        assert_eq!(control.into_messages(), frame().messages);
    }

    #[test]
    fn a_message_that_cannot_be_read_is_left_out_and_the_rest_counts() {
        let mut bytes = frame().encode_to_vec();
        // A message of a kind that is not known.
        bytes.extend([MESSAGES as u8 * 8 + 2, 3, 0xfa, 0x7f, 0x00]);
        bytes.extend(
            DataFrame {
                messages: vec![message(9, Body::Stale)],
                ..DataFrame::default()
            }
            .encode_to_vec(),
        );
        let read = DataFrame::decode(bytes.as_slice()).expect("well-formed");
        let expected = [frame().messages, vec![message(9, Body::Stale)]].concat();
        assert_eq!(read.into_messages(), expected);
        // And what is no protobuf ends the stream.
        bytes.extend([MESSAGES as u8 * 8 + 2, 1, 0xff]);
        assert!(DataFrame::decode(bytes.as_slice()).is_err());
    }
}
