//! Small conversions between the peer protocol and precise types.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use entrepot_oci::Digest;
use entrepot_proto::peers::PIECE_BYTES;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tonic::Status;

/// A digest as a peer sent it.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub fn digest(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("{error}")))
}

/// Any other validated name as a peer sent it.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub fn name<T>(text: &str) -> Result<T, Status>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("{error}")))
}

/// The messages of a streaming call, as one concrete type: the compiler cannot
/// see through a boxed stream that a call which holds it may change threads.
pub struct Outgoing<T>(BoxStream<'static, T>);

/// Regroups chunks of any size into pieces for the wire: large chunks are cut
/// without copying, small ones are gathered so that a message is worth its
/// overhead.
#[derive(Debug, Default)]
pub struct Pieces {
    gathered: BytesMut,
}

/// The pieces of one large chunk.
pub(crate) fn cut(chunk: Bytes) -> Vec<Bytes> {
    let mut pieces = Pieces::default();
    let mut out = pieces.push(chunk);
    out.extend(pieces.finish());
    out
}

// === impl Outgoing ===

impl<T> Outgoing<T> {
    pub fn new(messages: impl Stream<Item = T> + Send + 'static) -> Self {
        Self(messages.boxed())
    }
}

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<T> fmt::Debug for Outgoing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing(..)")
    }
}

// === impl Pieces ===

impl Pieces {
    /// The pieces that are full after `chunk`.
    pub fn push(&mut self, mut chunk: Bytes) -> Vec<Bytes> {
        let mut full = Vec::new();
        if !self.gathered.is_empty() {
            let room = PIECE_BYTES - self.gathered.len();
            // Grown once, not again and again.
            self.gathered.reserve(room);
            let head = chunk.split_to(room.min(chunk.len()));
            self.gathered.extend_from_slice(&head);
            if self.gathered.len() == PIECE_BYTES {
                full.push(self.gathered.split().freeze());
            }
        }
        while chunk.len() >= PIECE_BYTES {
            full.push(chunk.split_to(PIECE_BYTES));
        }
        self.gathered.extend_from_slice(&chunk);
        full
    }

    /// What is left over.
    pub fn finish(&mut self) -> Option<Bytes> {
        (!self.gathered.is_empty()).then(|| self.gathered.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_every_byte_in_order() {
        let content: Vec<u8> = (0..2_000_000_u32).map(|i| i.to_le_bytes()[0] ^ 7).collect();
        for step in [
            1_000,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            900_000,
        ] {
            let mut pieces = Pieces::default();
            let mut out: Vec<Bytes> = content
                .chunks(step)
                .flat_map(|chunk| pieces.push(Bytes::copy_from_slice(chunk)))
                .collect();
            out.extend(pieces.finish());
            assert!(out[..out.len() - 1].iter().all(|p| p.len() == PIECE_BYTES));
            assert_eq!(out.concat(), content);
        }
    }
}
