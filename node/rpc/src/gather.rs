//! The messages of a call, on their way to the library that reads them.
//!
//! That library takes as much memory for a message as its header says. So a
//! large message is held back here, where it takes what has arrived of it, until
//! it is complete: then its header is true. The invariant: what is held of all
//! calls together is within the service's budgets.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use entrepot_service::{Gathering, Registry, UNCOUNTED_BYTES};
use futures::{Stream, StreamExt};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::REQUEST_BYTES_MAX;
use crate::body::PIECE_BYTES_MAX;
use crate::request::RequestError;
use crate::status::status;

/// Calls that send many messages.
const STREAMS: [&str; 2] = [
    "/entrepot.v1.Registry/AppendUpload",
    "/entrepot.v1.Registry/PushBlob",
];
/// A compression flag and a length.
const HEADER_BYTES: usize = 5;
/// A message of a stream: a piece, and room for what protobuf adds to it.
const STREAMED_BYTES_MAX: usize = PIECE_BYTES_MAX + 1024;
/// For one message, from its header to its end.
const MESSAGE_TIME_MAX: Duration = Duration::from_mins(2);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Lets the messages of a call through, each when it is complete. What a call of
/// one message has gathered counts until it is answered.
pub(crate) async fn bounded(
    State(registry): State<Arc<Registry>>,
    request: Request,
    next: Next,
) -> Response {
    let kind = if STREAMS.contains(&request.uri().path()) {
        Kind::Stream
    } else {
        Kind::Single
    };
    let gathering = match kind {
        Kind::Stream => registry.passing(),
        Kind::Single => registry.gathering(),
    };
    let gathering = Arc::new(Mutex::new(gathering));
    let held = Arc::clone(&gathering);
    let request = request.map(|body| Body::from_stream(Messages::new(body, kind, held)));
    let response = next.run(request).await;
    drop(gathering);
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    Stream,
}

/// The bytes of a call; those of a large message all at once.
struct Messages {
    /// None: it has ended, or what was wrong with it was told.
    body: Option<BodyDataStream>,
    kind: Kind,
    gathering: Arc<Mutex<Gathering>>,
    /// What has arrived of a header.
    header: Vec<u8>,
    /// Bytes of the message that are still to come; none between two messages.
    left: Option<usize>,
    /// The message, if it is one that is held back.
    held: Option<BytesMut>,
    deadline: Option<Pin<Box<Sleep>>>,
    begun: usize,
    /// What may be passed on.
    ready: BytesMut,
}

// === impl Messages ===

impl Messages {
    fn new(body: Body, kind: Kind, gathering: Arc<Mutex<Gathering>>) -> Self {
        Self {
            body: Some(body.into_data_stream()),
            kind,
            gathering,
            header: Vec::with_capacity(HEADER_BYTES),
            left: None,
            held: None,
            deadline: None,
            begun: 0,
            ready: BytesMut::new(),
        }
    }

    /// Takes in what has arrived.
    fn take(&mut self, mut data: Bytes) -> Result<(), Status> {
        while !data.is_empty() {
            let Some(left) = self.left else {
                let more = (HEADER_BYTES - self.header.len()).min(data.len());
                self.header.extend_from_slice(&data.split_to(more));
                if let [_, length @ ..] = self.header.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.begin(u32::from_be_bytes(length))?;
                }
                continue;
            };
            let piece = data.split_to(left.min(data.len()));
            match &mut self.held {
                Some(held) => {
                    lock(&self.gathering)
                        .grow(piece.len())
                        .map_err(|error| status(&error))?;
                    held.extend_from_slice(&piece);
                }
                None => self.ready.extend_from_slice(&piece),
            }
            self.progress(left - piece.len());
        }
        Ok(())
    }

    /// A message of `length` bytes begins.
    fn begin(&mut self, length: u32) -> Result<(), Status> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.begun += 1;
        match self.kind {
            Kind::Single if self.begun > 1 => {
                return Err(Status::invalid_argument("this call takes one message"));
            }
            Kind::Stream if length > STREAMED_BYTES_MAX => {
                return Err(RequestError::PieceTooLarge {
                    size: length,
                    max: PIECE_BYTES_MAX,
                }
                .into());
            }
            Kind::Single | Kind::Stream => {}
        }
        // What is too large is refused by its header, and what is small is not
        // worth the trouble.
        if (UNCOUNTED_BYTES + 1..=REQUEST_BYTES_MAX).contains(&length) {
            self.held = Some(BytesMut::from(self.header.as_slice()));
            self.deadline = Some(Box::pin(sleep(MESSAGE_TIME_MAX)));
        } else {
            self.ready.extend_from_slice(&self.header);
        }
        self.header.clear();
        self.progress(length);
        Ok(())
    }

    /// So many bytes of the message are still to come.
    fn progress(&mut self, left: usize) {
        self.left = Some(left).filter(|left| *left > 0);
        if self.left.is_some() {
            return;
        }
        self.deadline = None;
        if let Some(held) = self.held.take() {
            if self.ready.is_empty() {
                self.ready = held;
            } else {
                self.ready.unsplit(held);
            }
            if self.kind == Kind::Stream {
                lock(&self.gathering).release();
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            if !self.ready.is_empty() {
                let ready = std::mem::take(&mut self.ready);
                return Poll::Ready(Some(Ok(ready.freeze())));
            }
            if let Some(deadline) = &mut self.deadline
                && deadline.as_mut().poll(cx).is_ready()
            {
                let error = Status::deadline_exceeded("the message did not come in time");
                return Poll::Ready(Some(Err(error.into())));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match ready!(body.poll_next_unpin(cx)) {
                Some(Ok(data)) => self.take(data)?,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    // What is torn is told by whoever reads it.
                    self.body = None;
                    self.ready = self.held.take().unwrap_or_default();
                }
            }
        }
    }
}

impl Stream for Messages {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let more = ready!(self.poll_more(cx));
        if matches!(more, Some(Err(_))) {
            self.body = None;
            self.held = None;
        }
        Poll::Ready(more)
    }
}

fn lock(gathering: &Mutex<Gathering>) -> std::sync::MutexGuard<'_, Gathering> {
    // It is whole between any two statements that hold it.
    gathering.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use bytes::Bytes;
    use entrepot_service::{Gathering, UNCOUNTED_BYTES};
    use futures::{FutureExt, StreamExt, stream};
    use tokio::sync::Semaphore;
    use tonic::{Code, Status};

    use super::{Kind, MESSAGE_TIME_MAX, Messages, STREAMED_BYTES_MAX};
    use crate::REQUEST_BYTES_MAX;

    const BUDGET_BYTES: usize = 100_000;

    /// What becomes of a body of these chunks, all at once or one after another.
    struct Passed {
        messages: Messages,
        left: Arc<Semaphore>,
    }

    impl Passed {
        fn new(kind: Kind, chunks: Vec<Vec<u8>>) -> Self {
            let chunks = chunks.into_iter().map(Ok::<_, Infallible>);
            Self::of(kind, Body::from_stream(stream::iter(chunks)))
        }

        fn of(kind: Kind, body: Body) -> Self {
            let left = Arc::new(Semaphore::new(BUDGET_BYTES));
            let gathering = Arc::new(Mutex::new(Gathering::new(&left)));
            let messages = Messages::new(body, kind, gathering);
            Self { messages, left }
        }

        async fn next(&mut self) -> Option<Result<Bytes, Code>> {
            let next = self.messages.next().await?;
            Some(next.map_err(|error| error.downcast_ref::<Status>().unwrap().code()))
        }

        fn taken(&self) -> usize {
            BUDGET_BYTES - self.left.available_permits()
        }
    }

    fn header(length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        [&[0], length.as_slice()].concat()
    }

    fn message(length: usize) -> Vec<u8> {
        [header(length), vec![7; length]].concat()
    }

    #[tokio::test]
    async fn small_messages_pass_as_they_come() {
        let all = [message(3), message(0), message(UNCOUNTED_BYTES)].concat();
        for size in [1, 4, 1_000, all.len()] {
            let chunks = all.chunks(size).map(<[u8]>::to_vec).collect();
            let mut passed = Passed::new(Kind::Stream, chunks);
            let mut found = Vec::new();
            while let Some(piece) = passed.next().await {
                assert_eq!(passed.taken(), 0);
                found.extend_from_slice(&piece.unwrap());
            }
            assert!(found == all, "in chunks of {size}");
        }
    }

    #[tokio::test]
    async fn a_large_message_passes_when_it_is_complete() {
        let large = message(UNCOUNTED_BYTES + 5_000);
        let (start, rest) = large.split_at(UNCOUNTED_BYTES + 1_005);
        for kind in [Kind::Single, Kind::Stream] {
            let (sender, receiver) = futures::channel::mpsc::unbounded();
            let chunks = receiver.map(Ok::<Vec<u8>, Infallible>);
            let mut passed = Passed::of(kind, Body::from_stream(chunks));
            sender.unbounded_send(start.to_vec()).unwrap();
            assert!(passed.next().now_or_never().is_none());
            assert_eq!(passed.taken(), 1_000);
            sender.unbounded_send(rest.to_vec()).unwrap();
            assert_eq!(passed.next().await.unwrap().unwrap(), large);
            let kept = if kind == Kind::Single { 5_000 } else { 0 };
            assert_eq!(passed.taken(), kept);
        }
    }

    #[tokio::test]
    async fn what_there_is_no_memory_for_is_refused() {
        let large = message(UNCOUNTED_BYTES + BUDGET_BYTES + 1);
        let chunks = large.chunks(1_000).map(<[u8]>::to_vec).collect();
        let mut passed = Passed::new(Kind::Single, chunks);
        assert_eq!(passed.next().await, Some(Err(Code::Unavailable)));
        assert_eq!(passed.next().await, None);
    }

    #[tokio::test]
    async fn what_is_said_takes_nothing() {
        let mut passed = Passed::new(Kind::Stream, vec![header(STREAMED_BYTES_MAX + 1)]);
        assert_eq!(passed.next().await, Some(Err(Code::InvalidArgument)));
        // By whoever reads it.
        let large = header(REQUEST_BYTES_MAX + 1);
        let mut passed = Passed::new(Kind::Single, vec![large.clone()]);
        assert_eq!(passed.next().await, Some(Ok(large.into())));
        let mut passed = Passed::new(Kind::Single, vec![message(1), message(1)]);
        assert_eq!(passed.next().await, Some(Ok(message(1).into())));
        assert_eq!(passed.next().await, Some(Err(Code::InvalidArgument)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_end_is_given_up() {
        let drops = stream::unfold(header(UNCOUNTED_BYTES + 1), |drop| async {
            tokio::time::sleep(MESSAGE_TIME_MAX / 50).await;
            Some((Ok::<_, Infallible>(drop), vec![7]))
        });
        let mut passed = Passed::of(Kind::Single, Body::from_stream(drops));
        assert_eq!(passed.next().await, Some(Err(Code::DeadlineExceeded)));
    }
}
